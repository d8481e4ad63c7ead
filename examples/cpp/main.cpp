// Factorises the layer of a safetensors file, and prints what was gained, as the Rust example does.

#include <armor.hpp>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>

extern "C" {
#include "../c/layer.h"
}

namespace {

void print_table(const layer &layer, const armor_sizes &s, const armor_report &r, double output_error) {
    const double lower = r.nowag_p_loss > 0 ? 100 * (1 - r.loss / r.nowag_p_loss) : 0;
    const double entries = static_cast<double>(s.rows * s.cols);
    const auto size = [&](const char *label, std::size_t stored, double dense) {
        std::printf("%-22s%zu bytes, %.1f %% of dense (%.0f)\n", label, stored,
                    100 * static_cast<double>(stored) / dense, dense);
    };
    std::printf("%-22s%s (%zu × %zu)\n", "layer", layer.name, s.rows, s.cols);
    std::printf("%-22s%zu:%zu core, blocks of %zu and %zu, preset exact\n", "factors", s.pattern_n, s.pattern_m,
                s.left_block, s.right_block);
    std::printf("%-22s%.6f\n", "loss of NoWag-P", r.nowag_p_loss);
    std::printf("%-22s%.6f  (%.1f %% lower)\n", "loss", r.loss, lower);
    std::printf("%-22s%.6f  under the whole Hessian\n", "output error", output_error);
    std::printf("%-22s%.2f %% of the weight's entries\n", "wrapper overhead", 100 * r.overhead);
    size("size in f32", r.stored_bytes_f32, 4 * entries);
    size("size in f16", r.stored_bytes_f16, 2 * entries);
    std::printf("%-22s%zu (stopped: %s)\n", "iterations", r.iterations, armor_stop_reason_name(r.stop_reason));
    std::printf("%-22s%.2f s, %.2f ms an iteration\n", "time", r.seconds,
                1e3 * r.seconds / static_cast<double>(r.iterations));
}

void run(const layer &layer) {
    const auto weight = armor::matrix(layer.weight, layer.rows, layer.cols, layer.cols, ARMOR_DTYPE_F16);
    const auto hessian = armor::full_hessian(static_cast<const float *>(layer.hessian), layer.cols);
    const auto options = armor::options(ARMOR_PRESET_EXACT);
    const auto result = armor::factorize(weight, hessian, options, [](const armor_progress &progress) {
        std::fprintf(stderr, "\r%zu of %zu, loss %.6f ", progress.iteration, progress.iterations, progress.best_loss);
        return true; // go on
    });
    std::fputs("\r\033[K", stderr);
    print_table(layer, result.sizes(), result.report(), result.output_error(weight, hessian));
}

} // namespace

int main(int argc, char **argv) {
    layer layer{};
    if (argc != 2) {
        std::fprintf(stderr, "usage: %s FILE.safetensors\n", argv[0]);
        return EXIT_FAILURE;
    }
    if (layer_read(argv[1], &layer) != 0) {
        return EXIT_FAILURE;
    }
    const std::unique_ptr<struct layer, void (*)(struct layer *)> owner(&layer, layer_free);
    try {
        run(layer);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
