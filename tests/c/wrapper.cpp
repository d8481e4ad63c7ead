// The C++ wrapper: handles move and free themselves, failures are exceptions, what a progress function throws comes out.

#include <armor.hpp>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <stdexcept>
#include <type_traits>
#include <utility>

static_assert(!std::is_copy_constructible_v<armor::factorization>);
static_assert(!std::is_copy_constructible_v<armor::packed> && !std::is_copy_constructible_v<armor::job>);
static_assert(std::is_nothrow_move_constructible_v<armor::factorization>);

namespace {

int passed = 0, failed = 0;

void check(bool holds, const char *what, int line) {
    if (holds) {
        passed++;
    } else {
        failed++;
        std::printf("line %d: %s\n", line, what);
    }
}

#define CHECK(condition) check((condition), #condition, __LINE__)

// The status of the armor::error that a call throws, or ARMOR_OK.
template <typename Call> std::uint32_t status_of(Call call) {
    try {
        call();
    } catch (const armor::error &error) {
        CHECK(std::string(error.what()).size() > 0);
        return error.status();
    }
    return ARMOR_OK;
}

} // namespace

int main() {
    std::vector<double> weight(12 * 16);
    for (std::size_t i = 0; i < weight.size(); i++) {
        weight[i] = static_cast<double>((37 * i) % 29) - 14;
    }
    const std::vector<float> diagonal(16, 2.5F);
    const auto matrix = armor::matrix(weight.data(), 12, 16);
    const auto hessian = armor::diagonal_hessian(diagonal.data(), diagonal.size());
    armor::options options;
    options.block(8).iterations(5).seed(7).pattern(2, 4);

    // Options as JSON: what is written can be read, and a wrong key is refused.
    const auto same = armor::options::from_json(options.to_json());
    CHECK(same.to_json() == options.to_json() && same.to_json().find("\"left_block\": 8,") != std::string::npos);
    CHECK(armor::options::from_json("{\"preset\": \"paper\"}").to_json() == armor::options(ARMOR_PRESET_PAPER).to_json());
    CHECK(status_of([] { armor::options::from_json("{\"blocks\": 8}"); }) == ARMOR_INVALID_SETTINGS);
    CHECK(status_of([] { armor::options::from_json("{\"block\": 0}"); }) == ARMOR_OPTION_OUT_OF_RANGE);

    auto first = armor::factorize(matrix, hessian, options);
    const auto moved = std::move(first);
    CHECK(moved.report().loss <= moved.report().nowag_p_loss);
    CHECK(moved.sizes().rows == 12 && moved.sizes().dense == moved.reconstruct().size());
    CHECK(moved.left().size() == moved.sizes().left && moved.right().size() == moved.sizes().right);
    CHECK(moved.core_values().size() * 2 == moved.core_dense().size() && moved.core_bitmask().size() == 24);
    CHECK(moved.history().size() == 6 && moved.apply(std::vector<float>(16, 1)).size() == 12);

    // All Hessians of the same entries, and all inputs alike.
    std::vector<double> full(16 * 16);
    for (std::size_t j = 0; j < 16; j++) {
        full[17 * j] = 2.5;
    }
    const auto by_full = armor::factorize(matrix, armor::full_hessian(full.data(), 16), options);
    const auto by_none = armor::factorize(matrix, armor::identity_hessian(16), options);
    CHECK(by_full.reconstruct() == moved.reconstruct() && by_none.reconstruct() == moved.reconstruct());

    const auto bytes = moved.serialize("layer");
    const auto again = armor::factorization::deserialize(bytes.data(), bytes.size(), "layer");
    CHECK(again.reconstruct() == moved.reconstruct() && again.serialize("layer") == bytes);
    CHECK(status_of([&] { armor::factorization::deserialize(bytes.data(), 9, "layer"); }) == ARMOR_INVALID_BYTES);

    const std::string with_nul("layer\0s", 7);
    CHECK(status_of([&] { moved.serialize(with_nul); }) == ARMOR_INVALID_TEXT);
    armor::options given_away;
    const armor::options taken = std::move(given_away);
    CHECK(status_of([&] { armor::factorize(matrix, hessian, given_away); }) == ARMOR_NULL_POINTER);
    CHECK(status_of([&] { armor::factorization::deserialize(bytes.data(), bytes.size(), with_nul); }) ==
          ARMOR_INVALID_TEXT);

    CHECK(status_of([&] { options.iterations(0); }) == ARMOR_OPTION_OUT_OF_RANGE);
    CHECK(status_of([&] { armor::options(9); }) == ARMOR_UNKNOWN_VALUE);
    CHECK(status_of([&] { moved.apply({}); }) == ARMOR_INVALID_SHAPE || status_of([&] { moved.apply({}); }) == ARMOR_NULL_POINTER);
    weight[40] = std::numeric_limits<double>::quiet_NaN();
    CHECK(status_of([&] { armor::factorize(matrix, hessian, options); }) == ARMOR_NOT_FINITE);
    weight[40] = 1;

    int calls = 0;
    const auto cancelled = armor::factorize(matrix, hessian, options, [&](const armor_progress &progress) {
        calls++;
        return progress.iteration < 2;
    });
    CHECK(calls == 2 && cancelled.report().stop_reason == ARMOR_STOP_CANCELLED);
    calls = 0;
    try {
        armor::factorize(matrix, hessian, options, [&](const armor_progress &) -> bool {
            calls++;
            throw std::domain_error("enough");
        });
        CHECK(!"reached");
    } catch (const std::domain_error &error) {
        CHECK(std::string(error.what()) == "enough" && calls == 1);
    }
    // Activations are the weight's rows: the Hessian's diagonal is their mean square.
    armor::accumulator whole(16, ARMOR_HESSIAN_FULL), part(16, ARMOR_HESSIAN_FULL);
    whole.add(armor::matrix(weight.data(), 7, 16));
    part.add(armor::matrix(weight.data() + 7 * 16, 5, 16));
    whole.merge(part);
    const auto mean = whole.hessian();
    CHECK(whole.tokens() == 12 && mean.size() == 16 * 16 && armor::accumulator(16).add(matrix).hessian().size() == 16);
    double square = 0;
    for (std::size_t i = 0; i < 12; i++) {
        square += weight[16 * i + 3] * weight[16 * i + 3] / 12;
    }
    CHECK(std::abs(mean[17 * 3] - square) < 1e-4 * square);
    const auto saved = whole.serialize("layer");
    const auto restored = armor::accumulator::deserialize(saved.data(), saved.size(), "layer");
    CHECK(restored.tokens() == 12 && restored.hessian() == mean);
    CHECK(status_of([&] { whole.add(armor::matrix(weight.data(), 12, 15, 16)); }) == ARMOR_INVALID_SHAPE);
    CHECK(status_of([&] { whole.merge(whole); }) == ARMOR_OVERLAP);
    CHECK(status_of([&] { armor::accumulator(16).hessian(); }) == ARMOR_INVALID_SHAPE);

    // Pairs whose second member is half of the first: the weight that makes up for it is twice what it was.
    std::vector<double> halves(weight);
    for (double &half : halves) {
        half /= 2;
    }
    armor::pair_accumulator pairs(16), more(16);
    pairs.add(armor::matrix(weight.data(), 7, 16), armor::matrix(halves.data(), 7, 16));
    more.add(armor::matrix(weight.data() + 7 * 16, 5, 16), armor::matrix(halves.data() + 7 * 16, 5, 16));
    pairs.merge(more);
    const auto seen = pairs.hessian();
    CHECK(pairs.tokens() == 12 && seen.size() == 16 * 16 && std::abs(4 * seen[17 * 3] - square) < 1e-4 * square);
    const auto corrected = pairs.correct(matrix, 1, 0);
    CHECK(corrected.weight.size() == weight.size() && corrected.report.struct_size == sizeof corrected.report);
    CHECK(corrected.report.strength == 1 && corrected.report.ridge > 0 && corrected.report.energy > 0);
    CHECK(std::abs(corrected.report.drift - 0.25) < 1e-5 && corrected.report.irreducible < 1e-5);
    CHECK(std::abs(pairs.output_error(matrix, matrix) - 0.25) < 1e-5);
    CHECK(pairs.output_error(matrix, armor::matrix(corrected.weight.data(), 12, 16)) < 1e-5);
    const auto unchanged = pairs.correct(matrix, 0).weight;
    for (std::size_t i = 0; i < unchanged.size(); i++) {
        CHECK(unchanged[i] == static_cast<float>(weight[i]));
    }
    const auto saved_pairs = pairs.serialize("layer");
    const auto restored_pairs = armor::pair_accumulator::deserialize(saved_pairs.data(), saved_pairs.size(), "layer");
    CHECK(restored_pairs.tokens() == 12 && restored_pairs.hessian() == seen);
    CHECK(status_of([&] { pairs.add(matrix, armor::matrix(halves.data(), 7, 16)); }) == ARMOR_INVALID_SHAPE);
    CHECK(status_of([&] { pairs.correct(matrix, 2); }) == ARMOR_OPTION_OUT_OF_RANGE);
    CHECK(status_of([&] { pairs.merge(pairs); }) == ARMOR_OVERLAP);
    CHECK(status_of([] { armor::pair_accumulator(std::size_t{0}); }) == ARMOR_INVALID_SHAPE);
    CHECK(status_of([&] { armor::pair_accumulator(16).correct(matrix); }) == ARMOR_INVALID_SHAPE);

    // Packed, a vector alone and in a batch.
    const armor::packed packed(moved, ARMOR_DTYPE_F32, 1);
    const std::vector<float> inputs(3 * 16, 1);
    const auto outputs = packed.apply(armor::matrix(inputs.data(), 3, 16));
    const auto reference = moved.apply(std::vector<float>(16, 1));
    CHECK(outputs.size() == 3 * 12 && packed.sizes().rows == 12 && packed.scratch_len(3) > packed.scratch_len(1));
    for (std::size_t i = 0; i < outputs.size(); i++) {
        CHECK(std::abs(outputs[i] - reference[i % 12]) < 1e-3);
    }
    CHECK(status_of([&] { packed.apply(armor::matrix(inputs.data(), 3, 15, 16)); }) == ARMOR_INVALID_SHAPE);
    const armor::packed mixed(moved, {ARMOR_DTYPE_F32, ARMOR_DTYPE_BF16, ARMOR_DTYPE_F16}, 1);
    const auto sizes = mixed.sizes();
    CHECK(sizes.left_dtype == ARMOR_DTYPE_F32 && sizes.core_dtype == ARMOR_DTYPE_BF16);
    CHECK(sizes.right_dtype == ARMOR_DTYPE_F16 && mixed.apply(armor::matrix(inputs.data(), 3, 16)).size() == 3 * 12);
    CHECK(packed.unpack().reconstruct() == moved.reconstruct());
    CHECK(status_of([&] { armor::packed(moved, ARMOR_DTYPE_F64); }) == ARMOR_UNKNOWN_DTYPE);
    CHECK(status_of([] { armor::job("{}"); }) == ARMOR_INVALID_SETTINGS);
    CHECK(status_of([] { armor::job("{\"checkpoint\": \"nowhere\", \"out\": \"nowhere\"}"); }) == ARMOR_INVALID_SETTINGS);
    CHECK(status_of([] { armor::job("{\"checkpoint\": \"nowhere\", \"hessians\": \"nowhere\", \"out\": \"nowhere\"}"); }) ==
          ARMOR_FILE);

    std::printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
