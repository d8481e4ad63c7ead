/* Where the system gives no worker threads a run is refused, again and again, and so is packing for them; the caller's own
 * thread packs and applies all the same. tests/c/run sees to that: no_threads write FILE makes the layer, with threads,
 * and no_threads FILE reads it, without. */

#include <armor.h>
#include <stdio.h>
#include <string.h>

enum { ROWS = 4, COLS = 8, ROOM = 1 << 16 };

static const uint32_t F32 = ARMOR_DTYPE_F32;

static unsigned char file[ROOM];

static int fail(const char *what, uint32_t status) {
    printf("%s: status %u, %s\n", what, (unsigned)status, armor_last_error_message());
    return 1;
}

static uint32_t run(armor_factorization **out) {
    static const float weight[ROWS * COLS] = {1, 2, 3, 4, 5, 6, 7, 8};
    armor_matrix w = {weight, ROWS, COLS, COLS, ARMOR_DTYPE_F32};
    armor_hessian h = {NULL, COLS, 0, ARMOR_HESSIAN_IDENTITY, 0};
    return armor_factorize(&w, &h, NULL, NULL, NULL, out);
}

static int is_refused(uint32_t status) {
    static const char expected[] = "threads: could not start the process's worker threads: ";
    return status == ARMOR_THREADS && strncmp(armor_last_error_message(), expected, strlen(expected)) == 0;
}

static int make(const char *path) {
    armor_factorization *layer = NULL;
    size_t len = 0;
    FILE *out = fopen(path, "wb");
    uint32_t status = run(&layer);
    if (status == ARMOR_OK) {
        status = armor_factorization_serialize(layer, "layer", file, ROOM, &len);
    }
    armor_factorization_free(layer);
    if (status != ARMOR_OK || out == NULL || fwrite(file, 1, len, out) != len || fclose(out) != 0) {
        return fail("write", status);
    }
    return 0;
}

int main(int count, char **arguments) {
    static const float x[COLS] = {1, 1, 1, 1, 1, 1, 1, 1};
    float y[ROWS], expected[ROWS];
    armor_factorization *layer = NULL;
    armor_packed *packed = NULL;
    size_t len;
    uint32_t status;
    FILE *in;
    int turn;
    if (count == 3) {
        return make(arguments[2]);
    }
    for (turn = 0; turn < 3; turn++) {
        status = run(&layer);
        if (!is_refused(status) || layer != NULL) {
            return fail("factorize", status);
        }
    }
    in = count == 2 ? fopen(arguments[1], "rb") : NULL;
    len = in == NULL ? 0 : fread(file, 1, ROOM, in);
    if (in != NULL) {
        fclose(in);
    }
    status = armor_factorization_deserialize(file, len, "layer", &layer);
    if (status != ARMOR_OK) {
        return fail("deserialize", status);
    }
    for (turn = 0; turn < 3; turn++) {
        status = armor_packed_create(layer, F32, F32, F32, 0, &packed);
        if (!is_refused(status) || packed != NULL) {
            return fail("create for the process's threads", status);
        }
    }
    status = armor_packed_create(layer, F32, F32, F32, 1, &packed);
    if (status == ARMOR_OK) {
        status = armor_packed_apply(packed, x, COLS, y, ROWS, NULL, 0);
    }
    if (status == ARMOR_OK) {
        status = armor_factorization_apply(layer, x, COLS, expected, ROWS, NULL);
    }
    if (status != ARMOR_OK) {
        return fail("apply", status);
    }
    for (turn = 0; turn < ROWS; turn++) {
        if (y[turn] - expected[turn] > 1e-3f || expected[turn] - y[turn] > 1e-3f) {
            printf("output %d is %g, expected %g\n", turn, (double)y[turn], (double)expected[turn]);
            return 1;
        }
    }
    armor_packed_free(packed);
    armor_factorization_free(layer);
    return 0;
}
