// armor for C++17, in one header on top of armor.h. Handles free themselves, failures are exceptions, arrays are vectors.

#ifndef ARMOR_HPP
#define ARMOR_HPP

#include <armor.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace armor {

// A call that failed: what() says which argument, what was wrong with it, and where.
class error : public std::runtime_error {
public:
    error(std::uint32_t status, const char *message) : std::runtime_error(message), status_(status) {}

    // ARMOR_*, never ARMOR_OK.
    std::uint32_t status() const noexcept { return status_; }

private:
    std::uint32_t status_;
};

namespace detail {

inline void check(std::uint32_t status) {
    if (status != ARMOR_OK) {
        throw error(status, armor_last_error_message());
    }
}

// A text for C, which would end it at a NUL of its own.
inline const char *text(const std::string &name) {
    if (name.find('\0') != std::string::npos) {
        throw error(ARMOR_INVALID_TEXT, "name: holds a NUL");
    }
    return name.c_str();
}

// Frees a handle. That cannot fail for one that the library made.
struct deleter {
    void operator()(armor_options *options) const noexcept { (void)armor_options_free(options); }
    void operator()(armor_factorization *factorization) const noexcept {
        (void)armor_factorization_free(factorization);
    }
    void operator()(armor_accumulator *accumulator) const noexcept { (void)armor_accumulator_free(accumulator); }
    void operator()(armor_pair_accumulator *accumulator) const noexcept {
        (void)armor_pair_accumulator_free(accumulator);
    }
    void operator()(armor_packed *packed) const noexcept { (void)armor_packed_free(packed); }
    void operator()(armor_job *job) const noexcept { (void)armor_job_free(job); }
};

// Asks for the size, then for the array.
template <typename T, typename Call> std::vector<T> filled(Call call) {
    std::vector<T> values;
    std::size_t needed = 0;
    std::uint32_t status = call(nullptr, 0, &needed);
    // Again where another thread has made it longer by then.
    while (status == ARMOR_BUFFER_TOO_SMALL) {
        values.resize(needed);
        status = call(values.data(), values.size(), &needed);
    }
    check(status);
    values.resize(needed);
    return values;
}

// The same for a text.
template <typename Call> std::string filled_text(Call call) {
    const std::vector<char> characters = filled<char>(call);
    return std::string(characters.data());
}

template <typename T> constexpr std::uint32_t dtype_of();
template <> constexpr std::uint32_t dtype_of<float>() { return ARMOR_DTYPE_F32; }
template <> constexpr std::uint32_t dtype_of<double>() { return ARMOR_DTYPE_F64; }

} // namespace detail

// A weight or activations of float or double, rows x cols, read in place; rows are row_stride elements apart, 0 for cols.
template <typename T>
armor_matrix matrix(const T *data, std::size_t rows, std::size_t cols, std::size_t row_stride = 0) {
    return {data, rows, cols, row_stride == 0 ? cols : row_stride, detail::dtype_of<T>()};
}

// The same for any type, by its ARMOR_DTYPE_*.
inline armor_matrix matrix(const void *data, std::size_t rows, std::size_t cols, std::size_t row_stride,
                           std::uint32_t dtype) {
    return {data, rows, cols, row_stride, dtype};
}

// The Hessian's diagonal: len numbers, read in place.
template <typename T> armor_hessian diagonal_hessian(const T *data, std::size_t len) {
    return {data, len, 0, ARMOR_HESSIAN_DIAGONAL, detail::dtype_of<T>()};
}

// The whole Hessian: len x len numbers, read in place.
template <typename T> armor_hessian full_hessian(const T *data, std::size_t len, std::size_t row_stride = 0) {
    return {data, len, row_stride == 0 ? len : row_stride, ARMOR_HESSIAN_FULL, detail::dtype_of<T>()};
}

// No calibration data: all len inputs weigh alike.
inline armor_hessian identity_hessian(std::size_t len) { return {nullptr, len, 0, ARMOR_HESSIAN_IDENTITY, 0}; }

// Adds up the Hessian of a layer's inputs from their activations: movable, not copyable. Any thread may use it, but one
// call works on it at a time; to work in parallel, give every thread its own and merge them.
class accumulator {
public:
    // For the diagonal over so many inputs, or for ARMOR_HESSIAN_FULL.
    explicit accumulator(std::size_t inputs, std::uint32_t kind = ARMOR_HESSIAN_DIAGONAL) {
        armor_accumulator *made = nullptr;
        detail::check(armor_accumulator_create(inputs, kind, &made));
        handle_.reset(made);
    }

    // Adds some tokens: rows of armor::matrix. A value that is not finite throws and adds nothing.
    accumulator &add(const armor_matrix &activations) {
        detail::check(armor_accumulator_add(handle_.get(), &activations));
        return *this;
    }

    accumulator &merge(const accumulator &other) {
        detail::check(armor_accumulator_merge(handle_.get(), other.get()));
        return *this;
    }

    std::uint64_t tokens() const {
        std::uint64_t tokens = 0;
        detail::check(armor_accumulator_tokens(handle_.get(), &tokens));
        return tokens;
    }

    // The mean over all tokens so far: k numbers, or k x k, for diagonal_hessian or full_hessian.
    std::vector<float> hessian() const {
        return detail::filled<float>([&](float *buffer, std::size_t capacity, std::size_t *needed) {
            return armor_accumulator_copy(handle_.get(), buffer, capacity, needed);
        });
    }

    // A safetensors file; name is the weight's without ".weight".
    std::vector<std::uint8_t> serialize(const std::string &name) const {
        const char *text = detail::text(name);
        return detail::filled<std::uint8_t>([&](std::uint8_t *buffer, std::size_t capacity, std::size_t *needed) {
            return armor_accumulator_serialize(handle_.get(), text, buffer, capacity, needed);
        });
    }

    static accumulator deserialize(const void *bytes, std::size_t len, const std::string &name) {
        armor_accumulator *made = nullptr;
        const auto *file = static_cast<const std::uint8_t *>(bytes);
        detail::check(armor_accumulator_deserialize(file, len, detail::text(name), &made));
        return accumulator(made);
    }

    const armor_accumulator *get() const noexcept { return handle_.get(); }

private:
    explicit accumulator(armor_accumulator *made) : handle_(made) {}

    std::unique_ptr<armor_accumulator, detail::deleter> handle_;
};

// A weight for the inputs of the compressed model: m x k numbers, row-major, to be factorised in the place of the dense
// layer's own, under pair_accumulator::hessian; and what the correction can reach.
struct correction {
    std::vector<float> weight;
    armor_correction report;
};

// Adds up the inputs of a layer in the dense and in the compressed model, token by token: movable, not copyable. Any thread
// may use it, but one call works on it at a time; to work in parallel, give every thread its own and merge them.
class pair_accumulator {
public:
    explicit pair_accumulator(std::size_t inputs) {
        armor_pair_accumulator *made = nullptr;
        detail::check(armor_pair_accumulator_create(inputs, &made));
        handle_.reset(made);
    }

    // Adds some tokens: rows of both matrices belong together. A value that is not finite throws and adds nothing.
    pair_accumulator &add(const armor_matrix &dense, const armor_matrix &compressed) {
        detail::check(armor_pair_accumulator_add(handle_.get(), &dense, &compressed));
        return *this;
    }

    pair_accumulator &merge(const pair_accumulator &other) {
        detail::check(armor_pair_accumulator_merge(handle_.get(), other.get()));
        return *this;
    }

    std::uint64_t tokens() const {
        std::uint64_t tokens = 0;
        detail::check(armor_pair_accumulator_tokens(handle_.get(), &tokens));
        return tokens;
    }

    // The Hessian of the inputs in the compressed model: k x k numbers, for full_hessian.
    std::vector<float> hessian() const {
        return detail::filled<float>([&](float *buffer, std::size_t capacity, std::size_t *needed) {
            return armor_pair_accumulator_copy_hessian(handle_.get(), buffer, capacity, needed);
        });
    }

    // Makes up for the drift of the inputs; armor_pair_accumulator_correct describes the numbers.
    correction correct(const armor_matrix &weight, double strength = 1, double ridge = 0.01) const {
        correction made{};
        made.report.struct_size = sizeof made.report;
        made.weight = detail::filled<float>([&](float *buffer, std::size_t capacity, std::size_t *needed) {
            return armor_pair_accumulator_correct(handle_.get(), &weight, strength, ridge, buffer, capacity, needed,
                                                  &made.report);
        });
        return made;
    }

    // How far the outputs of a compressed layer, which replaces weight, are from those of the dense layer.
    double output_error(const armor_matrix &weight, const armor_matrix &compressed) const {
        double error = 0;
        detail::check(armor_pair_accumulator_output_error(handle_.get(), &weight, &compressed, &error));
        return error;
    }

    // A safetensors file; name is the weight's without ".weight".
    std::vector<std::uint8_t> serialize(const std::string &name) const {
        const char *text = detail::text(name);
        return detail::filled<std::uint8_t>([&](std::uint8_t *buffer, std::size_t capacity, std::size_t *needed) {
            return armor_pair_accumulator_serialize(handle_.get(), text, buffer, capacity, needed);
        });
    }

    static pair_accumulator deserialize(const void *bytes, std::size_t len, const std::string &name) {
        armor_pair_accumulator *made = nullptr;
        const auto *file = static_cast<const std::uint8_t *>(bytes);
        detail::check(armor_pair_accumulator_deserialize(file, len, detail::text(name), &made));
        return pair_accumulator(std::unique_ptr<armor_pair_accumulator, detail::deleter>(made));
    }

    const armor_pair_accumulator *get() const noexcept { return handle_.get(); }

private:
    explicit pair_accumulator(std::unique_ptr<armor_pair_accumulator, detail::deleter> handle)
        : handle_(std::move(handle)) {}

    std::unique_ptr<armor_pair_accumulator, detail::deleter> handle_;
};

// How a layer is factorised; armor.h gives every option's meaning, default and range. A value out of its range throws
// and changes nothing.
class options {
public:
    explicit options(std::uint32_t preset = ARMOR_PRESET_EXACT) {
        armor_options *made = nullptr;
        detail::check(armor_options_create(preset, &made));
        handle_.reset(made);
    }

    // Reads options from a JSON object; armor_options_from_json describes its keys.
    static options from_json(const std::string &json) {
        armor_options *made = nullptr;
        const auto *bytes = reinterpret_cast<const std::uint8_t *>(json.data());
        detail::check(armor_options_from_json(bytes, json.size(), &made));
        return options(std::unique_ptr<armor_options, detail::deleter>(made));
    }

    // Writes all options as a JSON object, which from_json reads.
    std::string to_json() const {
        return detail::filled_text([&](char *buffer, std::size_t capacity, std::size_t *needed) {
            return armor_options_to_json(handle_.get(), buffer, capacity, needed);
        });
    }

    options &method(std::uint32_t value) { return set(armor_options_set_method, value); }
    options &left_block(std::size_t rows) { return set(armor_options_set_left_block, rows); }
    options &right_block(std::size_t cols) { return set(armor_options_set_right_block, cols); }
    // The range of the right block is the narrower one: a size that is refused changes neither block.
    options &block(std::size_t size) { return right_block(size).left_block(size); }
    options &iterations(std::size_t most) { return set(armor_options_set_iterations, most); }
    options &time_budget(double seconds) { return set(armor_options_set_time_budget, seconds); }
    options &tolerance(double fall) { return set(armor_options_set_tolerance, fall); }
    options &patience(std::size_t iterations) { return set(armor_options_set_patience, iterations); }
    options &temperature(double tau) { return set(armor_options_set_temperature, tau); }
    options &max_extrapolation(double beta) { return set(armor_options_set_max_extrapolation, beta); }
    options &learning_rate(double rate) { return set(armor_options_set_learning_rate, rate); }
    options &seed(std::uint64_t value) { return set(armor_options_set_seed, value); }
    options &objective(std::uint32_t value) { return set(armor_options_set_objective, value); }
    options &shrinkage(double alpha) { return set(armor_options_set_shrinkage, alpha); }
    options &row_weighting(std::uint32_t value) { return set(armor_options_set_row_weighting, value); }
    options &memory_limit(std::size_t bytes) { return set(armor_options_set_memory_limit, bytes); }
    options &threads(std::size_t count) { return set(armor_options_set_threads, count); }
    options &pattern(std::size_t n, std::size_t m) {
        detail::check(armor_options_set_pattern(handle_.get(), n, m));
        return *this;
    }

    const armor_options *get() const noexcept { return handle_.get(); }

private:
    explicit options(std::unique_ptr<armor_options, detail::deleter> handle) : handle_(std::move(handle)) {}

    template <typename T> options &set(std::uint32_t (*setter)(armor_options *, T), T value) {
        detail::check(setter(handle_.get(), value));
        return *this;
    }

    std::unique_ptr<armor_options, detail::deleter> handle_;
};

// Called once an iteration, by one thread at a time but not always the caller's; false cancels the run. What it throws
// cancels the run too, and comes out of factorize.
using progress_fn = std::function<bool(const armor_progress &)>;

// A factorised layer, A * S * B: movable, not copyable, never changing, to be read by any number of threads.
class factorization {
public:
    armor_sizes sizes() const {
        armor_sizes sizes{};
        sizes.struct_size = sizeof sizes;
        detail::check(armor_factorization_get_sizes(handle_.get(), &sizes));
        return sizes;
    }

    armor_report report() const {
        armor_report report{};
        report.struct_size = sizeof report;
        detail::check(armor_factorization_get_report(handle_.get(), &report));
        return report;
    }

    std::vector<float> left() const { return copy(armor_factorization_copy_left); }
    std::vector<float> right() const { return copy(armor_factorization_copy_right); }
    std::vector<float> core_values() const { return copy(armor_factorization_copy_core_values); }
    std::vector<std::uint8_t> core_bitmask() const { return copy(armor_factorization_copy_core_bitmask); }
    std::vector<float> core_dense() const { return copy(armor_factorization_copy_core_dense); }
    std::vector<double> history() const { return copy(armor_factorization_copy_history); }
    std::vector<float> reconstruct() const { return copy(armor_factorization_reconstruct); }

    // A * (S * (B * x)).
    std::vector<float> apply(const std::vector<float> &x) const {
        std::vector<float> y(sizes().rows);
        detail::check(armor_factorization_apply(handle_.get(), x.data(), x.size(), y.data(), y.size(), nullptr));
        return y;
    }

    // Relative output error under a Hessian, which may be held out.
    double output_error(const armor_matrix &weight, const armor_hessian &hessian) const {
        double error = 0;
        detail::check(armor_factorization_output_error(handle_.get(), &weight, &hessian, &error));
        return error;
    }

    // A safetensors file; name is the weight's without ".weight".
    std::vector<std::uint8_t> serialize(const std::string &name) const {
        const char *text = detail::text(name);
        return detail::filled<std::uint8_t>([&](std::uint8_t *buffer, std::size_t capacity, std::size_t *needed) {
            return armor_factorization_serialize(handle_.get(), text, buffer, capacity, needed);
        });
    }

    static factorization deserialize(const void *bytes, std::size_t len, const std::string &name) {
        armor_factorization *made = nullptr;
        const auto *file = static_cast<const std::uint8_t *>(bytes);
        detail::check(armor_factorization_deserialize(file, len, detail::text(name), &made));
        return factorization(made);
    }

    const armor_factorization *get() const noexcept { return handle_.get(); }

private:
    friend class packed;
    friend class job;
    friend factorization factorize(const armor_matrix &, const armor_hessian &, const options &, const progress_fn &);

    explicit factorization(armor_factorization *made) : handle_(made) {}

    template <typename T>
    std::vector<T> copy(std::uint32_t (*call)(const armor_factorization *, T *, std::size_t, std::size_t *)) const {
        return detail::filled<T>([&](T *buffer, std::size_t capacity, std::size_t *needed) {
            return call(handle_.get(), buffer, capacity, needed);
        });
    }

    std::unique_ptr<armor_factorization, detail::deleter> handle_;
};

namespace detail {

// A progress function, and what it threw.
struct observer {
    const progress_fn &progress;
    std::exception_ptr thrown;
};

// No exception may leave this: the library is not C++.
inline int observe(const armor_progress *progress, void *user) noexcept {
    auto *observer = static_cast<struct observer *>(user);
    try {
        return observer->progress(*progress) ? 0 : 1;
    } catch (...) {
        observer->thrown = std::current_exception();
        return 1;
    }
}

// Makes a call that tells how far it is; what the progress function throws comes out.
template <typename Call> void observed(const progress_fn &progress, Call call) {
    detail::observer observer{progress, nullptr};
    const armor_progress_fn observe = progress ? detail::observe : nullptr;
    const std::uint32_t status = call(observe, &observer);
    if (observer.thrown) {
        std::rethrow_exception(observer.thrown);
    }
    check(status);
}

} // namespace detail

// Factorises a weight under the Hessian of its inputs.
inline factorization factorize(const armor_matrix &weight, const armor_hessian &hessian,
                               const options &chosen = options(), const progress_fn &progress = nullptr) {
    if (chosen.get() == nullptr) {
        throw error(ARMOR_NULL_POINTER, "options: were moved from");
    }
    armor_factorization *made = nullptr;
    std::unique_ptr<armor_factorization, detail::deleter> handle;
    detail::observed(progress, [&](armor_progress_fn observe, void *user) {
        const std::uint32_t status = armor_factorize(&weight, &hessian, chosen.get(), observe, user, &made);
        handle.reset(made);
        return status;
    });
    return factorization(handle.release());
}

// The dtype of each packed factor, ARMOR_DTYPE_F32, _F16 or _BF16. A single dtype stands for all three.
struct factor_dtypes {
    std::uint32_t left;
    std::uint32_t core;
    std::uint32_t right;

    factor_dtypes(std::uint32_t all) : left(all), core(all), right(all) {}
    factor_dtypes(std::uint32_t left_dtype, std::uint32_t core_dtype, std::uint32_t right_dtype)
        : left(left_dtype), core(core_dtype), right(right_dtype) {}
};

// A factorised layer in the memory order that fast kernels read: movable, not copyable, immutable; any number of
// threads may use it. It does not need the factorisation.
class packed {
public:
    // threads is 0 for the pool of the process, 1 for the calling thread alone, more for a pool of this object's own.
    explicit packed(const factorization &layer, factor_dtypes dtypes = ARMOR_DTYPE_BF16, std::size_t threads = 0) {
        armor_packed *made = nullptr;
        detail::check(armor_packed_create(layer.get(), dtypes.left, dtypes.core, dtypes.right, threads, &made));
        handle_.reset(made);
    }

    armor_packed_sizes sizes() const {
        armor_packed_sizes sizes{};
        sizes.struct_size = sizeof sizes;
        detail::check(armor_packed_get_sizes(handle_.get(), &sizes));
        return sizes;
    }

    // Gives the number of floats that a batch needs as scratch.
    std::size_t scratch_len(std::size_t batch) const {
        std::size_t needed = 0;
        detail::check(armor_packed_scratch_len(handle_.get(), batch, &needed));
        return needed;
    }

    // Computes A * (S * (B * x)) for every row x; the outputs of one row follow those of the row before.
    std::vector<float> apply(const armor_matrix &x) const {
        const std::size_t rows = sizes().rows;
        std::vector<float> y(x.rows * rows);
        detail::check(armor_packed_apply_batch(handle_.get(), &x, y.data(), rows, y.size(), nullptr, 0));
        return y;
    }

    // Gives back the factorisation that was packed, with the numbers of each factor rounded to its dtype.
    factorization unpack() const {
        armor_factorization *made = nullptr;
        detail::check(armor_packed_unpack(handle_.get(), &made));
        return factorization(made);
    }

    // For armor_packed_apply and armor_packed_apply_batch, which allocate nothing.
    const armor_packed *get() const noexcept { return handle_.get(); }

private:
    std::unique_ptr<armor_packed, detail::deleter> handle_;
};

// A job that compresses a checkpoint, layer by layer; docs/checkpoints.md lists the settings. Only a library that was
// built with the feature `checkpoint` has jobs: a program that uses this class does not link with another library.
class job {
public:
    explicit job(const std::string &settings) {
        armor_job *made = nullptr;
        const auto *json = reinterpret_cast<const std::uint8_t *>(settings.data());
        detail::check(armor_job_create(json, settings.size(), &made));
        handle_.reset(made);
    }

    std::size_t layer_count() const {
        std::size_t count = 0;
        detail::check(armor_job_layer_count(handle_.get(), &count));
        return count;
    }

    std::string layer_name(std::size_t index) const {
        return detail::filled_text([&](char *buffer, std::size_t capacity, std::size_t *needed) {
            return armor_job_layer_name(handle_.get(), index, buffer, capacity, needed);
        });
    }

    // Whether a layer is done, by whatever process.
    bool layer_done(std::size_t index) const {
        std::uint32_t done = 0;
        detail::check(armor_job_layer_done(handle_.get(), index, &done));
        return done != 0;
    }

    // Compresses a layer unless it is done, and keeps the result on disk. One that progress cancels throws
    // ARMOR_CANCELLED.
    void run_layer(std::size_t index, const progress_fn &progress = nullptr) const {
        detail::observed(progress, [&](armor_progress_fn observe, void *user) {
            return armor_job_run_layer(handle_.get(), index, observe, user);
        });
    }

    // The same in a job without "hessians" in its settings: under the Hessian of the layer's inputs, the mean over so many
    // tokens.
    void run_layer_on(std::size_t index, const armor_hessian &hessian, std::uint64_t tokens,
                      const progress_fn &progress = nullptr) const {
        detail::observed(progress, [&](armor_progress_fn observe, void *user) {
            return armor_job_run_layer_on_hessian(handle_.get(), index, &hessian, tokens, observe, user);
        });
    }

    // The same on pairs of the layer's inputs: compresses the weight that makes up for the inputs of the compressed model.
    void run_layer_on(std::size_t index, const pair_accumulator &pairs, const progress_fn &progress = nullptr) const {
        detail::observed(progress, [&](armor_progress_fn observe, void *user) {
            return armor_job_run_layer_on_pairs(handle_.get(), index, pairs.get(), observe, user);
        });
    }

    // Rows and columns of a layer: outputs and inputs.
    std::pair<std::size_t, std::size_t> layer_shape(std::size_t index) const {
        std::pair<std::size_t, std::size_t> shape;
        detail::check(armor_job_layer_shape(handle_.get(), index, &shape.first, &shape.second));
        return shape;
    }

    // The weight that a finished layer has from now on, A * S * B as it is stored: outputs x inputs, row-major.
    std::vector<float> layer_weight(std::size_t index) const {
        return detail::filled<float>([&](float *buffer, std::size_t capacity, std::size_t *needed) {
            return armor_job_layer_weight(handle_.get(), index, buffer, capacity, needed);
        });
    }

    // The factors of a finished layer, in float as they were computed.
    factorization layer_factorization(std::size_t index) const {
        armor_factorization *made = nullptr;
        detail::check(armor_job_layer_factorization(handle_.get(), index, &made));
        return factorization(made);
    }

    // Puts other factors of the same shape, pattern and blocks in the place of those of a finished layer.
    void replace_layer(std::size_t index, const factorization &factors) const {
        detail::check(armor_job_replace_layer(handle_.get(), index, factors.get()));
    }

    // Writes the compressed checkpoint, once all layers are done.
    void finish() const { detail::check(armor_job_finish(handle_.get())); }

    // What the job does with every file and tensor, as JSON.
    std::string plan() const {
        return detail::filled_text([&](char *buffer, std::size_t capacity, std::size_t *needed) {
            return armor_job_plan(handle_.get(), buffer, capacity, needed);
        });
    }

    // report.json of a finished job.
    std::string report() const {
        return detail::filled_text([&](char *buffer, std::size_t capacity, std::size_t *needed) {
            return armor_job_report(handle_.get(), buffer, capacity, needed);
        });
    }

    const armor_job *get() const noexcept { return handle_.get(); }

private:
    std::unique_ptr<armor_job, detail::deleter> handle_;
};

} // namespace armor

#endif // ARMOR_HPP
