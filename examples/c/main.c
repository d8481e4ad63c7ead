/*
 * Factorises the layer of a safetensors file, and prints what was gained, as the Rust example does:
 *
 *     cc -std=c99 main.c layer.c file.c $(pkg-config --cflags --libs armor) -o factorize && ./factorize FILE
 */

#include <armor.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "layer.h"

static int show_progress(const armor_progress *progress, void *user) {
    (void)user;
    fprintf(stderr, "\r%zu of %zu, loss %.6f ", progress->iteration, progress->iterations, progress->best_loss);
    return 0; /* go on */
}

static void print_table(const struct layer *layer, const armor_sizes *s, const armor_report *r, double output_error) {
    double lower = r->nowag_p_loss > 0 ? 100 * (1 - r->loss / r->nowag_p_loss) : 0;
    double dense = (double)(s->rows * s->cols);
    printf("%-22s%s (%zu × %zu)\n", "layer", layer->name, s->rows, s->cols);
    printf("%-22s%zu:%zu core, blocks of %zu and %zu, preset exact\n", "factors", s->pattern_n, s->pattern_m,
           s->left_block, s->right_block);
    printf("%-22s%.6f\n", "loss of NoWag-P", r->nowag_p_loss);
    printf("%-22s%.6f  (%.1f %% lower)\n", "loss", r->loss, lower);
    printf("%-22s%.6f  under the whole Hessian\n", "output error", output_error);
    printf("%-22s%.2f %% of the weight's entries\n", "wrapper overhead", 100 * r->overhead);
    printf("%-22s%zu bytes, %.1f %% of dense (%.0f)\n", "size in f32", r->stored_bytes_f32,
           100 * (double)r->stored_bytes_f32 / (4 * dense), 4 * dense);
    printf("%-22s%zu bytes, %.1f %% of dense (%.0f)\n", "size in f16", r->stored_bytes_f16,
           100 * (double)r->stored_bytes_f16 / (2 * dense), 2 * dense);
    printf("%-22s%zu (stopped: %s)\n", "iterations", r->iterations, armor_stop_reason_name(r->stop_reason));
    printf("%-22s%.2f s, %.2f ms an iteration\n", "time", r->seconds, 1e3 * r->seconds / (double)r->iterations);
}

int main(int argc, char **argv) {
    struct layer layer;
    armor_factorization *factorization = NULL;
    armor_sizes sizes = {0};
    armor_report report = {0};
    double output_error = 0;
    uint32_t status;

    if (argc != 2) {
        fprintf(stderr, "usage: %s FILE.safetensors\n", argv[0]);
        return EXIT_FAILURE;
    }
    if (layer_read(argv[1], &layer) != 0) {
        return EXIT_FAILURE;
    }
    {
        const armor_matrix weight = {layer.weight, layer.rows, layer.cols, layer.cols, ARMOR_DTYPE_F16};
        const armor_hessian hessian = {layer.hessian, layer.cols, layer.cols, ARMOR_HESSIAN_FULL, ARMOR_DTYPE_F32};
        /* No options are the preset exact with seed 0. */
        status = armor_factorize(&weight, &hessian, NULL, show_progress, NULL, &factorization);
        if (status == ARMOR_OK) {
            status = armor_factorization_output_error(factorization, &weight, &hessian, &output_error);
        }
    }
    fputs("\r\033[K", stderr);
    if (status == ARMOR_OK) {
        sizes.struct_size = sizeof sizes;
        status = armor_factorization_get_sizes(factorization, &sizes);
    }
    if (status == ARMOR_OK) {
        report.struct_size = sizeof report;
        status = armor_factorization_get_report(factorization, &report);
    }
    if (status == ARMOR_OK) {
        print_table(&layer, &sizes, &report, output_error);
    } else {
        fprintf(stderr, "error %" PRIu32 ": %s\n", status, armor_last_error_message());
    }
    armor_factorization_free(factorization);
    layer_free(&layer);
    return status == ARMOR_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
