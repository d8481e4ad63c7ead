/* Worker threads do not follow a process into its fork: what needs them is refused there, and not waited for for ever.
 * What has its own, or needs none, goes on. */

#define _POSIX_C_SOURCE 200809L

#include <armor.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROWS = 64, COLS = 64 };

static const uint32_t F32 = ARMOR_DTYPE_F32;

static float weight[ROWS * COLS], x[COLS], y[ROWS], expected[ROWS], whole[ROWS * COLS];

static int is_refused(const char *what, uint32_t status) {
    static const char message[] = "threads: could not start the process's worker threads: this process was forked";
    if (status == ARMOR_THREADS && strncmp(armor_last_error_message(), message, strlen(message)) == 0) {
        return 1;
    }
    printf("%s in a fork: status %u, %s\n", what, (unsigned)status, armor_last_error_message());
    return 0;
}

static int child(const armor_matrix *w, const armor_hessian *h, const armor_factorization *layer,
                 armor_accumulator *accumulator) {
    armor_factorization *another = NULL;
    armor_packed *packed = NULL;
    double error = 0;
    int refused;
    alarm(60);
    refused = is_refused("factorize", armor_factorize(w, h, NULL, NULL, NULL, &another)) &
              is_refused("output_error", armor_factorization_output_error(layer, w, h, &error)) &
              is_refused("reconstruct", armor_factorization_reconstruct(layer, whole, ROWS * COLS, NULL)) &
              is_refused("accumulator_add", armor_accumulator_add(accumulator, w)) &
              is_refused("packed_create", armor_packed_create(layer, F32, F32, F32, 0, &packed));
    if (!refused || armor_factorization_apply(layer, x, COLS, y, ROWS, NULL) != ARMOR_OK ||
        armor_packed_create(layer, F32, F32, F32, 1, &packed) != ARMOR_OK ||
        armor_packed_apply(packed, x, COLS, y, ROWS, NULL, 0) != ARMOR_OK) {
        return 1;
    }
    armor_packed_free(packed);
    return memcmp(y, expected, sizeof y) != 0;
}

int main(void) {
    armor_matrix w = {weight, ROWS, COLS, COLS, ARMOR_DTYPE_F32};
    armor_hessian h = {NULL, COLS, 0, ARMOR_HESSIAN_IDENTITY, 0};
    armor_factorization *layer = NULL;
    armor_accumulator *accumulator = NULL;
    armor_packed *packed = NULL;
    int status = 1;
    size_t i;
    pid_t forked;
    for (i = 0; i < ROWS * COLS; i++) {
        weight[i] = (float)(i * i % 17) - 8;
    }
    for (i = 0; i < COLS; i++) {
        x[i] = (float)(i % 5) - 2;
    }
    if (armor_factorize(&w, &h, NULL, NULL, NULL, &layer) != ARMOR_OK ||
        armor_accumulator_create(COLS, ARMOR_HESSIAN_DIAGONAL, &accumulator) != ARMOR_OK ||
        armor_packed_create(layer, F32, F32, F32, 1, &packed) != ARMOR_OK ||
        armor_packed_apply(packed, x, COLS, expected, ROWS, NULL, 0) != ARMOR_OK) {
        printf("%s\n", armor_last_error_message());
        return 1;
    }
    forked = fork();
    if (forked == 0) {
        _exit(child(&w, &h, layer, accumulator));
    }
    if (forked < 0 || waitpid(forked, &status, 0) != forked || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        printf("the forked process ended with %d\n", status);
        return 1;
    }
    armor_packed_free(packed);
    armor_accumulator_free(accumulator);
    armor_factorization_free(layer);
    return 0;
}
