/* Where the system gives no worker threads a run is refused, again and again; tests/c/run sees to that. */

#include <armor.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    static const char expected[] = "threads: could not start the process's worker threads: ";
    static float weight[4 * 8];
    armor_matrix w = {weight, 4, 8, 8, ARMOR_DTYPE_F32};
    armor_hessian h = {NULL, 8, 0, ARMOR_HESSIAN_IDENTITY, 0};
    int turn;
    for (turn = 0; turn < 3; turn++) {
        armor_factorization *out = NULL;
        uint32_t status = armor_factorize(&w, &h, NULL, NULL, NULL, &out);
        if (status != ARMOR_THREADS || out != NULL ||
            strncmp(armor_last_error_message(), expected, strlen(expected)) != 0) {
            printf("status %u, %s\n", (unsigned)status, armor_last_error_message());
            return 1;
        }
    }
    return 0;
}
