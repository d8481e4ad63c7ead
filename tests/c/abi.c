/*
 * The ABI as a C program meets it: every call once, and the mistakes that a C compiler lets through. Valid C99 and
 * C++17; run by tests/c/run, plain, under valgrind and under sanitizers.
 */

#include <armor.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 12
#define COLS 16

static int passed = 0, failed = 0;

static void check(int holds, const char *what, int line) {
    if (holds) {
        passed++;
    } else {
        failed++;
        printf("line %d: %s; last message: %s\n", line, what, armor_last_error_message());
    }
}

#define CHECK(condition) check((condition) != 0, #condition, __LINE__)
#define CHECK_STATUS(call, status, text)                                                                               \
    do {                                                                                                               \
        CHECK((call) == (status));                                                                                     \
        CHECK(strcmp(armor_last_error_message(), text) == 0);                                                          \
    } while (0)

/* The memory of a small layer. */
static float weight_data[ROWS * COLS];
static double hessian_data[COLS];
static armor_matrix weight;
static armor_hessian hessian;

static void make_layer(void) {
    int i;
    for (i = 0; i < ROWS * COLS; i++) {
        weight_data[i] = (float)((37 * i) % 29 - 14) / 7.0f;
    }
    for (i = 0; i < COLS; i++) {
        hessian_data[i] = 0.25 + (5 * i) % 7;
    }
    weight.data = weight_data;
    weight.rows = ROWS;
    weight.cols = weight.row_stride = COLS;
    weight.dtype = ARMOR_DTYPE_F32;
    hessian.data = hessian_data;
    hessian.len = COLS;
    hessian.row_stride = 0;
    hessian.kind = ARMOR_HESSIAN_DIAGONAL;
    hessian.dtype = ARMOR_DTYPE_F64;
}

static armor_options *make_options(void) {
    armor_options *options = NULL;
    CHECK(armor_options_create(ARMOR_PRESET_EXACT, &options) == ARMOR_OK);
    CHECK(armor_options_set_left_block(options, 8) == ARMOR_OK);
    CHECK(armor_options_set_right_block(options, 8) == ARMOR_OK);
    CHECK(armor_options_set_iterations(options, 5) == ARMOR_OK);
    CHECK(armor_options_set_seed(options, 7) == ARMOR_OK);
    return options;
}

static armor_factorization *make_factorization(void) {
    armor_options *options = make_options();
    armor_factorization *made = NULL;
    CHECK(armor_factorize(&weight, &hessian, options, NULL, NULL, &made) == ARMOR_OK);
    CHECK(armor_options_free(options) == ARMOR_OK);
    return made;
}

static float *copy_floats(uint32_t (*copy)(const armor_factorization *, float *, size_t, size_t *),
                          const armor_factorization *from, size_t expected) {
    size_t needed = 0;
    float *values;
    CHECK(copy(from, NULL, 0, &needed) == ARMOR_BUFFER_TOO_SMALL);
    CHECK(needed == expected);
    values = (float *)malloc(needed * sizeof *values);
    CHECK(copy(from, values, needed, NULL) == ARMOR_OK);
    return values;
}

static void test_versions(void) {
    CHECK(armor_abi_version() == ARMOR_ABI_VERSION);
    CHECK(strchr(armor_version(), '.') != NULL);
    CHECK(armor_features() <= (ARMOR_FEATURE_CHECKPOINT | ARMOR_FEATURE_LAPACK));
    CHECK(strcmp(armor_status_message(ARMOR_OK), "success") == 0);
    CHECK(strcmp(armor_stop_reason_name(ARMOR_STOP_CONVERGED), "converged") == 0);
}

/* Left times dense core times right, by its definition. */
static void test_product(const armor_factorization *f, const armor_sizes *s) {
    float *left = copy_floats(armor_factorization_copy_left, f, s->left);
    float *right = copy_floats(armor_factorization_copy_right, f, s->right);
    float *core = copy_floats(armor_factorization_copy_core_dense, f, s->dense);
    float *product = copy_floats(armor_factorization_reconstruct, f, s->dense);
    size_t p = s->left_block, q = s->right_block, i, j, u, v;
    double worst = 0, x[COLS], expected[ROWS] = {0};
    float xf[COLS], y[ROWS];
    for (j = 0; j < COLS; j++) {
        x[j] = xf[j] = (float)j - 7.5f;
    }
    for (i = 0; i < ROWS; i++) {
        for (j = 0; j < COLS; j++) {
            size_t a = i / p, b = j / q;
            double sum = 0;
            for (u = a * p; u < (a + 1) * p && u < ROWS; u++) {
                for (v = b * q; v < (b + 1) * q && v < COLS; v++) {
                    sum += (double)left[(a * p + i % p) * p + u % p] * core[u * COLS + v] *
                           right[(b * q + v % q) * q + j % q];
                }
            }
            worst = fmax(worst, fabs(sum - product[i * COLS + j]));
            expected[i] += sum * x[j];
        }
    }
    CHECK(worst < 1e-5);
    CHECK(armor_factorization_apply(f, xf, COLS, y, ROWS, NULL) == ARMOR_OK);
    for (i = 0; i < ROWS; i++) {
        CHECK(fabs(y[i] - expected[i]) < 1e-3);
    }
    free(left);
    free(right);
    free(core);
    free(product);
}

/* Kept values and bitmask are the dense core, two of every four. */
static void test_core(const armor_factorization *f, const armor_sizes *s) {
    float *core = copy_floats(armor_factorization_copy_core_dense, f, s->dense);
    float *values = copy_floats(armor_factorization_copy_core_values, f, s->core_values);
    unsigned char bits[ROWS * COLS / 8];
    size_t i, j, next = 0;
    CHECK(s->core_bitmask == sizeof bits);
    CHECK(armor_factorization_copy_core_bitmask(f, bits, sizeof bits, NULL) == ARMOR_OK);
    for (i = 0; i < ROWS; i++) {
        for (j = 0; j < COLS; j++) {
            int kept = bits[i * COLS / 8 + j / 8] >> j % 8 & 1;
            CHECK(core[i * COLS + j] == (kept ? values[next] : 0));
            next += (size_t)kept;
            if (j % 4 == 3) {
                CHECK(next == (i * COLS + j + 1) / 2);
            }
        }
    }
    free(core);
    free(values);
}

static void test_run(void) {
    armor_factorization *f = make_factorization();
    armor_sizes sizes;
    armor_report report;
    double history[6];
    memset(&sizes, 0, sizeof sizes);
    memset(&report, 0, sizeof report);
    CHECK_STATUS(armor_factorization_get_report(f, &report), ARMOR_STRUCT_SIZE,
                 "out.struct_size: is 0, expected 72 or more");
    sizes.struct_size = sizeof sizes;
    report.struct_size = sizeof report;
    CHECK(armor_factorization_get_sizes(f, &sizes) == ARMOR_OK);
    CHECK(armor_factorization_get_report(f, &report) == ARMOR_OK);
    CHECK(sizes.struct_size == sizeof sizes && report.struct_size == sizeof report);
    CHECK(sizes.rows == ROWS && sizes.cols == COLS && sizes.left_blocks == 2 && sizes.right_blocks == 2);
    CHECK(report.loss > 0 && report.loss <= report.nowag_p_loss && report.nowag_p_loss < 1);
    CHECK(report.iterations == 5 && report.stop_reason == ARMOR_STOP_ITERATIONS);
    CHECK(report.ridge == 0 && report.dead_inputs == 0);
    CHECK(sizes.history == 6 && armor_factorization_copy_history(f, history, 6, NULL) == ARMOR_OK);
    test_product(f, &sizes);
    test_core(f, &sizes);
    CHECK(armor_factorization_free(f) == ARMOR_OK);
}

static int cancel_at_second(const armor_progress *progress, void *user) {
    int *calls = (int *)user;
    (*calls)++;
    return progress->iteration == 2;
}

static void test_cancel(void) {
    armor_options *options = make_options();
    armor_factorization *f = NULL;
    armor_report report;
    int calls = 0;
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    CHECK(armor_factorize(&weight, &hessian, options, cancel_at_second, &calls, &f) == ARMOR_OK);
    CHECK(armor_factorization_get_report(f, &report) == ARMOR_OK);
    CHECK(calls == 2 && report.iterations == 2 && report.stop_reason == ARMOR_STOP_CANCELLED);
    armor_factorization_free(f);
    armor_options_free(options);
}

static void test_bytes(void) {
    armor_factorization *f = make_factorization(), *again = NULL, *none = NULL;
    unsigned char *bytes, *twice;
    size_t len = 0;
    CHECK(armor_factorization_serialize(f, "layer", NULL, 0, &len) == ARMOR_BUFFER_TOO_SMALL);
    bytes = (unsigned char *)malloc(len);
    twice = (unsigned char *)malloc(len);
    CHECK(armor_factorization_serialize(f, "layer", bytes, len, NULL) == ARMOR_OK);
    CHECK(armor_factorization_deserialize(bytes, len, "layer", &again) == ARMOR_OK);
    CHECK(armor_factorization_serialize(again, "layer", twice, len, NULL) == ARMOR_OK);
    CHECK(memcmp(bytes, twice, len) == 0);
    CHECK_STATUS(armor_factorization_deserialize(bytes, 4, "layer", &none), ARMOR_INVALID_BYTES,
                 "bytes: header: cut off: the file ends at byte 4, before byte 8");
    CHECK(armor_factorization_deserialize(bytes, len - 1, "layer", &none) == ARMOR_INVALID_BYTES);
    CHECK(armor_factorization_deserialize(bytes, len, "other", &none) == ARMOR_INVALID_BYTES);
    CHECK(none == NULL);
    free(bytes);
    free(twice);
    armor_factorization_free(f);
    armor_factorization_free(again);
}

static void test_mistakes(void) {
    armor_factorization *f = NULL;
    armor_options *options = NULL;
    armor_matrix m = weight;
    armor_hessian h = hessian;
    char shifted[sizeof weight_data + 1];
    CHECK_STATUS(armor_factorize(NULL, &h, NULL, NULL, NULL, &f), ARMOR_NULL_POINTER, "weight: is NULL");
    CHECK_STATUS(armor_factorize(&m, NULL, NULL, NULL, NULL, &f), ARMOR_NULL_POINTER, "hessian: is NULL");
    CHECK_STATUS(armor_factorize(&m, &h, NULL, NULL, NULL, NULL), ARMOR_NULL_POINTER, "out: is NULL");
    m.data = shifted + (((size_t)shifted & 1) == 0);
    CHECK(armor_factorize(&m, &h, NULL, NULL, NULL, &f) == ARMOR_MISALIGNED);
    m = weight;
    m.row_stride = (size_t)-1;
    CHECK(armor_factorize(&m, &h, NULL, NULL, NULL, &f) == ARMOR_SIZE_OVERFLOW);
    m = weight;
    m.dtype = 99;
    CHECK(armor_factorize(&m, &h, NULL, NULL, NULL, &f) == ARMOR_UNKNOWN_DTYPE);
    h.kind = 0;
    CHECK(armor_factorize(&weight, &h, NULL, NULL, NULL, &f) == ARMOR_UNKNOWN_VALUE);
    h = hessian;
    h.len = COLS - 1;
    CHECK(armor_factorize(&weight, &h, NULL, NULL, NULL, &f) == ARMOR_INVALID_SHAPE);
    weight_data[35] = NAN;
    CHECK_STATUS(armor_factorize(&weight, &hessian, NULL, NULL, NULL, &f), ARMOR_NOT_FINITE,
                 "weight: entry [2, 3] is NaN, expected a finite f32 number");
    make_layer();
    hessian_data[3] = -1;
    CHECK(armor_factorize(&weight, &hessian, NULL, NULL, NULL, &f) == ARMOR_NEGATIVE);
    make_layer();
    CHECK(armor_factorize(&weight, &hessian, NULL, NULL, NULL, (armor_factorization **)(void *)hessian_data) ==
          ARMOR_OVERLAP);
    CHECK(f == NULL);
    CHECK(armor_options_create(3, &options) == ARMOR_UNKNOWN_VALUE && options == NULL);
    options = make_options();
    CHECK(armor_options_set_pattern(options, 4, 4) == ARMOR_OPTION_OUT_OF_RANGE);
    CHECK(armor_factorization_free((armor_factorization *)(void *)options) == ARMOR_WRONG_HANDLE);
    CHECK(armor_options_free(options) == ARMOR_OK);
    CHECK(armor_options_free(NULL) == ARMOR_OK && armor_factorization_free(NULL) == ARMOR_OK);
}

/* The weight's rows as activations: three ways to the same mean, and what must be refused. */
static void test_accumulator(void) {
    armor_accumulator *whole = NULL, *part = NULL, *again = NULL, *diagonal = NULL;
    armor_matrix rows = weight;
    float mean[COLS * COLS], twice[COLS * COLS], squares[COLS];
    unsigned char *bytes;
    size_t needed = 0, i, j, t;
    uint64_t tokens = 0;
    CHECK(armor_accumulator_create(COLS, ARMOR_HESSIAN_FULL, &whole) == ARMOR_OK);
    CHECK(armor_accumulator_create(COLS, ARMOR_HESSIAN_FULL, &part) == ARMOR_OK);
    CHECK(armor_accumulator_create(COLS, ARMOR_HESSIAN_DIAGONAL, &diagonal) == ARMOR_OK);
    CHECK_STATUS(armor_accumulator_copy(whole, mean, COLS * COLS, NULL), ARMOR_INVALID_SHAPE,
                 "accumulator: no tokens were added");
    rows.rows = 5;
    CHECK(armor_accumulator_add(whole, &rows) == ARMOR_OK);
    rows.data = weight_data + 5 * COLS;
    rows.rows = ROWS - 5;
    CHECK(armor_accumulator_add(part, &rows) == ARMOR_OK);
    CHECK(armor_accumulator_merge(whole, part) == ARMOR_OK);
    CHECK(armor_accumulator_add(diagonal, &weight) == ARMOR_OK);
    CHECK(armor_accumulator_tokens(whole, &tokens) == ARMOR_OK && tokens == ROWS);
    CHECK(armor_accumulator_copy(whole, NULL, 0, &needed) == ARMOR_BUFFER_TOO_SMALL && needed == COLS * COLS);
    CHECK(armor_accumulator_copy(whole, mean, COLS * COLS, NULL) == ARMOR_OK);
    CHECK(armor_accumulator_copy(diagonal, squares, COLS, NULL) == ARMOR_OK);
    for (i = 0; i < COLS; i++) {
        for (j = 0; j < COLS; j++) {
            double sum = 0;
            for (t = 0; t < ROWS; t++) {
                sum += (double)weight_data[t * COLS + i] * weight_data[t * COLS + j] / ROWS;
            }
            CHECK(fabs(sum - mean[i * COLS + j]) < 1e-5);
        }
        CHECK(fabs(mean[i * COLS + i] - squares[i]) < 1e-5);
    }
    CHECK(armor_accumulator_serialize(whole, "layer", NULL, 0, &needed) == ARMOR_BUFFER_TOO_SMALL);
    bytes = (unsigned char *)malloc(needed);
    CHECK(armor_accumulator_serialize(whole, "layer", bytes, needed, NULL) == ARMOR_OK);
    CHECK(armor_accumulator_deserialize(bytes, needed, "layer", &again) == ARMOR_OK);
    CHECK(armor_accumulator_copy(again, twice, COLS * COLS, NULL) == ARMOR_OK);
    CHECK(memcmp(mean, twice, sizeof mean) == 0);
    free(bytes);
    weight_data[35] = NAN;
    CHECK_STATUS(armor_accumulator_add(whole, &weight), ARMOR_NOT_FINITE,
                 "activations: entry [2, 3] is NaN, expected a number within \xc2\xb1" "1e18");
    make_layer();
    CHECK(armor_accumulator_copy(whole, twice, COLS * COLS, NULL) == ARMOR_OK);
    CHECK(memcmp(mean, twice, sizeof mean) == 0);
    CHECK_STATUS(armor_accumulator_merge(whole, diagonal), ARMOR_INVALID_SHAPE,
                 "other: accumulates the diagonal, expected the whole matrix");
    CHECK(armor_accumulator_merge(whole, whole) == ARMOR_OVERLAP);
    CHECK(armor_accumulator_create(COLS, ARMOR_HESSIAN_IDENTITY, &again) == ARMOR_UNKNOWN_VALUE);
    CHECK(armor_accumulator_free(whole) == ARMOR_OK && armor_accumulator_free(part) == ARMOR_OK);
    CHECK(armor_accumulator_free(again) == ARMOR_OK && armor_accumulator_free(diagonal) == ARMOR_OK);
    CHECK(armor_accumulator_free(NULL) == ARMOR_OK);
}

static const armor_factorization *shared;
static float shared_product[ROWS * COLS];

/* Reads what all threads share, factorises by itself, and fails in its own way; returns NULL if all of it held. */
static void *work(void *argument) {
    float product[ROWS * COLS];
    armor_factorization *mine = NULL;
    armor_options *options = NULL;
    int turn, wrong = 0;
    for (turn = 0; turn < 3; turn++) {
        wrong |= armor_factorization_reconstruct(shared, product, ROWS * COLS, NULL) != ARMOR_OK;
        wrong |= memcmp(product, shared_product, sizeof product) != 0;
        wrong |= armor_options_create(ARMOR_PRESET_PAPER, &options) != ARMOR_OK;
        wrong |= armor_options_set_iterations(options, 3) != ARMOR_OK;
        wrong |= armor_options_set_iterations(options, 0) != ARMOR_OPTION_OUT_OF_RANGE;
        wrong |= armor_factorize(&weight, &hessian, options, NULL, NULL, &mine) != ARMOR_OK;
        wrong |= strncmp(armor_last_error_message(), "option iterations: 0 is ", 24) != 0;
        armor_factorization_free(mine);
        armor_options_free(options);
    }
    return wrong ? argument : NULL;
}

static void test_threads(void) {
    pthread_t threads[8];
    armor_factorization *f = make_factorization();
    void *wrong;
    int i;
    shared = f;
    CHECK(armor_factorization_reconstruct(f, shared_product, ROWS * COLS, NULL) == ARMOR_OK);
    for (i = 0; i < 8; i++) {
        CHECK(pthread_create(&threads[i], NULL, work, f) == 0);
    }
    for (i = 0; i < 8; i++) {
        CHECK(pthread_join(threads[i], &wrong) == 0 && wrong == NULL);
    }
    armor_factorization_free(f);
}

int main(void) {
    make_layer();
    test_versions();
    test_run();
    test_cancel();
    test_bytes();
    test_accumulator();
    test_mistakes();
    test_threads();
    printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
