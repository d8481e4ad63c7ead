/*
 * armor: factorises the weight of a linear layer into A * S * B, an N:M sparse core between two block-diagonal wrappers.
 *
 * Generated from the library's source by cbindgen; changes made here are lost. docs/c-api.md is the manual.
 *
 * Every call that can fail returns a status, ARMOR_OK or why not; armor_last_error_message then says which argument,
 * what was wrong with it, and where. What a call writes comes last among its arguments and is written on success only
 * (but for `needed`, see armor_factorization_copy_left). Sizes and strides count elements. Only handles are freed, by
 * their own function, and freeing NULL is fine. Texts are UTF-8 and end with a NUL.
 */


#ifndef ARMOR_H
#define ARMOR_H

#include <stddef.h>
#include <stdint.h>

// The ABI that this header describes. It grows by one when functions, status numbers or fields are added, and the
// library's soname changes when any are removed or altered; docs/c-api.md lists what counts as which.
#define ARMOR_ABI_VERSION 2

// The call did what it was asked.
#define ARMOR_OK 0

// A pointer that must not be NULL is.
#define ARMOR_NULL_POINTER 1

// A pointer is not a multiple of its type's alignment.
#define ARMOR_MISALIGNED 2

// Memory that the call writes overlaps other memory that it uses.
#define ARMOR_OVERLAP 3

// Sizes or strides reach beyond the address space.
#define ARMOR_SIZE_OVERFLOW 4

// A dtype is none of ARMOR_DTYPE_*.
#define ARMOR_UNKNOWN_DTYPE 5

// Another number is none of its constants.
#define ARMOR_UNKNOWN_VALUE 6

// A matrix is empty, or sizes do not fit one another.
#define ARMOR_INVALID_SHAPE 7

// A weight or Hessian entry is NaN, infinite or beyond f32.
#define ARMOR_NOT_FINITE 8

// A Hessian's diagonal entry is negative, or an entry is larger than its diagonal allows.
#define ARMOR_NEGATIVE 9

// An option lies outside its range.
#define ARMOR_OPTION_OUT_OF_RANGE 10

// The caller's buffer is too small; the needed size was written.
#define ARMOR_BUFFER_TOO_SMALL 11

// Bytes do not hold a factorisation.
#define ARMOR_INVALID_BYTES 12

// A text is not UTF-8.
#define ARMOR_INVALID_TEXT 13

// A handle is not of the type that the call takes.
#define ARMOR_WRONG_HANDLE 14

// A struct's struct_size is below that of its first version.
#define ARMOR_STRUCT_SIZE 15

// The worker threads could not be started, or the process was forked from the one that has them.
#define ARMOR_THREADS 16

// A full Hessian is not symmetric.
#define ARMOR_ASYMMETRIC 17

// The full Hessian is needed, and only its diagonal was given.
#define ARMOR_HESSIAN_NOT_FULL 18

// The run needs more working memory than its options allow.
#define ARMOR_MEMORY_LIMIT 19

// A file or folder cannot be read or written.
#define ARMOR_FILE 32

// A file does not hold the tensors that it should.
#define ARMOR_INVALID_CHECKPOINT 33

// A job's settings are no JSON, or one of them is wrong.
#define ARMOR_INVALID_SETTINGS 34

// The output folder holds something else than this job.
#define ARMOR_OTHER_JOB 35

// A job is not as far as the call needs it to be.
#define ARMOR_JOB_UNFINISHED 36

// The progress function cancelled; nothing was kept.
#define ARMOR_CANCELLED 37

// A value is beyond the type that it was to be stored in, or the core is none that the format can hold.
#define ARMOR_UNREPRESENTABLE 38

// A job has no layer of this index.
#define ARMOR_NO_SUCH_LAYER 39

// The library has a bug, which was caught; the caller's handles and buffers remain valid.
#define ARMOR_PANIC 255

// IEEE single precision, `float`.
#define ARMOR_DTYPE_F32 1

// IEEE double precision, `double`.
#define ARMOR_DTYPE_F64 2

// IEEE half precision, 16 bits.
#define ARMOR_DTYPE_F16 3

// bfloat16: the upper 16 bits of a `float`.
#define ARMOR_DTYPE_BF16 4

// The Hessian's diagonal: len numbers.
#define ARMOR_HESSIAN_DIAGONAL 1

// The whole Hessian: len rows of len numbers, symmetric. With ARMOR_OBJECTIVE_DIAGONAL only its diagonal is read.
#define ARMOR_HESSIAN_FULL 2

// No calibration data: all inputs weigh alike, and data, row_stride and dtype are ignored.
#define ARMOR_HESSIAN_IDENTITY 3

// Exact updates, annealed and extrapolated: the default.
#define ARMOR_PRESET_EXACT 1

// The paper's procedure.
#define ARMOR_PRESET_PAPER 2

// Exact least squares for both wrappers, then a sweep that solves every group exactly.
#define ARMOR_METHOD_EXACT 1

// The paper's: one joint Adam step, then one sampled group in every block.
#define ARMOR_METHOD_PAPER 2

// The paper's convergence proof: one gradient step on A, B and the core's values, then one sampled group in every block.
#define ARMOR_METHOD_GRADIENT 3

// Every input on its own, weighted by the Hessian's diagonal: the paper's.
#define ARMOR_OBJECTIVE_DIAGONAL 1

// The output error under the whole Hessian; needs ARMOR_HESSIAN_FULL and ARMOR_METHOD_EXACT.
#define ARMOR_OBJECTIVE_FULL 2

// Every row by NoWag's scale: an error counts relative to the size of its row.
#define ARMOR_ROWS_NOWAG 1

// All rows alike.
#define ARMOR_ROWS_ALIKE 2

// Masks are drawn at a temperature above zero: the loss may rise.
#define ARMOR_PHASE_ANNEALING 1

// Every step takes the best it can find.
#define ARMOR_PHASE_DESCENDING 2

// All iterations were done.
#define ARMOR_STOP_ITERATIONS 1

// The loss stopped falling: no progress for the options' patience.
#define ARMOR_STOP_CONVERGED 2

// The time budget was used up.
#define ARMOR_STOP_TIME_BUDGET 3

// The progress function asked for it.
#define ARMOR_STOP_CANCELLED 4

// Adds up H = (1/N) sum of x * x^T over the activations x of N tokens, for armor_hessian. Made by
// armor_accumulator_create or armor_accumulator_deserialize, freed by armor_accumulator_free. Any thread may use it at
// any time, but one call works on it at a time and the others wait: to work in parallel, give every thread its own and
// merge them.
typedef struct armor_accumulator armor_accumulator;

// A factorised layer, A * S * B for the caller's own W: all scaling folded into the wrappers A and B. It never
// changes, so any number of threads may read it; armor_factorization_free frees it.
typedef struct armor_factorization armor_factorization;

// A checkpoint that is being compressed. Any thread may use it, layers may run side by side, and any number of processes
// may have the same job open, each with "resume": true in its settings; armor_job_free frees it.
typedef struct armor_job armor_job;

// How a layer is factorised. Made by armor_options_create, freed by armor_options_free; any thread may use it at any
// time, and a run keeps what was set when it began.
typedef struct armor_options armor_options;

// A factorised layer in the layout that fast kernels read. It never changes, so any number of threads may use it;
// armor_packed_free frees it. It does not need the factorisation that it was made from.
typedef struct armor_packed armor_packed;

// A matrix of the caller's, read in place. Entry (i, j) is element i * row_stride + j of data.
//
// It must cover (rows - 1) * row_stride + cols elements; those between the rows are not read. rows * row_stride elements
// have to fit the address space, of a single row too.
typedef struct armor_matrix {
    // First element, aligned to its type.
    const void *data;
    // Rows: output features, m, or tokens.
    size_t rows;
    // Columns: input features, k.
    size_t cols;
    // Elements from one row to the next, at least cols.
    size_t row_stride;
    // ARMOR_DTYPE_*.
    uint32_t dtype;
} armor_matrix;

// The Hessian of a layer's inputs, H = (1/N) sum of x * x^T over N tokens, read in place.
typedef struct armor_hessian {
    // First element, aligned to its type.
    const void *data;
    // Inputs that it covers: the weight's columns, k.
    size_t len;
    // Elements from one row to the next, at least len; for ARMOR_HESSIAN_FULL only.
    size_t row_stride;
    // ARMOR_HESSIAN_*.
    uint32_t kind;
    // ARMOR_DTYPE_*.
    uint32_t dtype;
} armor_hessian;

// What a progress function is told after every iteration. New fields go to the end.
typedef struct armor_progress {
    // The iteration that has just ended, from 1.
    size_t iteration;
    // Most iterations of the run.
    size_t iterations;
    // Relative proxy loss after it.
    double loss;
    // Lowest relative proxy loss so far, that of NoWag-P included.
    double best_loss;
    // Seconds since the run began.
    double seconds;
    // ARMOR_PHASE_*.
    uint32_t phase;
} armor_progress;

// Called once an iteration, by one thread at a time but not always the one that called armor_factorize. A result
// other than 0 cancels the run, which then returns its best state. It must return: no exception and no longjmp may
// leave it. `progress` lives until it returns; `user` is what armor_factorize was given.
typedef int (*armor_progress_fn)(const struct armor_progress *progress, void *user);

// Shapes of a factorisation, and the elements of every array that it can be copied to.
typedef struct armor_sizes {
    // Set to sizeof(armor_sizes) before the call; afterwards the bytes that were written.
    size_t struct_size;
    // Rows of the layer, m.
    size_t rows;
    // Columns of the layer, k.
    size_t cols;
    // Rows of a left block, p.
    size_t left_block;
    // Left blocks, m / p rounded up.
    size_t left_blocks;
    // Columns of a right block, q.
    size_t right_block;
    // Right blocks, k / q rounded up.
    size_t right_blocks;
    // Entries kept of each group, N.
    size_t pattern_n;
    // Entries of a group, M.
    size_t pattern_m;
    // float of the left wrapper: left_blocks * p * p.
    size_t left;
    // float of the right wrapper: right_blocks * q * q.
    size_t right;
    // float of the core's kept values: m * k * N / M.
    size_t core_values;
    // Bytes of the core's bitmask: m * (k / 8 rounded up).
    size_t core_bitmask;
    // float of the dense core, and of the reconstruction: m * k.
    size_t dense;
    // double of the history: iterations + 1.
    size_t history;
} armor_sizes;

// The record of a run.
typedef struct armor_report {
    // Set to sizeof(armor_report) before the call; afterwards the bytes that were written.
    size_t struct_size;
    // Iterations done.
    size_t iterations;
    // Bytes of the factors in f32, the mask's bits included.
    size_t stored_bytes_f32;
    // The same with values and wrappers in f16.
    size_t stored_bytes_f16;
    // Relative proxy loss; 1 would be a reconstruction of zeros.
    double loss;
    // Relative proxy loss of pruning alone (NoWag-P); loss is never above it.
    double nowag_p_loss;
    // Numbers in both wrappers over entries of the weight.
    double overhead;
    // Wall time of the run; 0 for a factorisation that was read from bytes.
    double seconds;
    // Why the run ended, ARMOR_STOP_*.
    uint32_t stop_reason;
    // 0; room for a later field.
    uint32_t reserved;
    // Ridge that was added to the unit diagonal of the inputs' correlation to factor it; 0 where none was needed.
    double ridge;
} armor_report;

// Shapes of a packed factorisation, and its bytes in memory.
typedef struct armor_packed_sizes {
    // Set to sizeof(armor_packed_sizes) before the call; afterwards the bytes that were written.
    size_t struct_size;
    // Outputs of the layer, m.
    size_t rows;
    // Inputs of the layer, k.
    size_t cols;
    // Bytes of the left wrapper A.
    size_t left_bytes;
    // Bytes of the core S: values and positions.
    size_t core_bytes;
    // Bytes of the right wrapper B.
    size_t right_bytes;
    // Bytes of all three.
    size_t bytes;
    // What values and wrappers are kept in, ARMOR_DTYPE_*.
    uint32_t dtype;
    // 0; room for a later field.
    uint32_t reserved;
} armor_packed_sizes;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Gives the ABI of the library that is loaded. It serves a program compiled against a header whose
// ARMOR_ABI_VERSION is not above it. Any thread may call it.
uint32_t armor_abi_version(void);

// Gives the version of the library that is loaded, such as "0.1.0". The text lives as long as the library; any
// thread may call this.
const char *armor_version(void);

// Says in a few words what a status number means; "unknown status" for a number that is none. Never NULL; the text
// lives as long as the library. Any thread may call it.
const char *armor_status_message(uint32_t status);

// Says why the last call on this thread that failed did: which argument, what was wrong with it, and where (the
// first bad index). An empty text if none has failed. Never NULL, UTF-8; the text lives until the next call on this
// thread that fails, or the thread's end.
const char *armor_last_error_message(void);

// Makes options of a preset, ARMOR_PRESET_*, and writes their handle to out.
uint32_t armor_options_create(uint32_t preset, struct armor_options **out);

// Frees options; NULL is fine. No run that uses them may be under way.
uint32_t armor_options_free(struct armor_options *options);

// Sets which updates an iteration is made of, ARMOR_METHOD_*. Default: the preset's.
uint32_t armor_options_set_method(struct armor_options *options, uint32_t method);

// Sets the rows of a block of the left wrapper, p, 1 to 4096. Default: 64 (exact), 128 (paper). Larger blocks lower
// the loss and raise the overhead; one larger than the layer is the whole layer.
uint32_t armor_options_set_left_block(struct armor_options *options,
                                      size_t rows);

// Sets the columns of a block of the right wrapper, q, 1 to 4096 and a multiple of the pattern's M: set the pattern
// first. Default: 64 (exact), 128 (paper).
uint32_t armor_options_set_right_block(struct armor_options *options,
                                       size_t cols);

// Sets the core's sparsity pattern n:m, 0 < n < m <= 8. Default: 2:4. The layer's columns must be a multiple of m,
// and so must the right block when a run begins.
uint32_t armor_options_set_pattern(struct armor_options *options,
                                   size_t n,
                                   size_t m);

// Sets the most iterations, 1 to 10,000,000, and with it the annealing's length. Default: 120 (exact), 20,000 (paper).
uint32_t armor_options_set_iterations(struct armor_options *options,
                                      size_t iterations);

// Sets the longest time of a run in seconds, above 0; infinity, the default, is no limit. A run that it shortens is
// not repeatable to the bit.
uint32_t armor_options_set_time_budget(struct armor_options *options,
                                       double seconds);

// Sets the relative fall of the loss that counts as progress, 0 to below 1. Default: 1e-6.
uint32_t armor_options_set_tolerance(struct armor_options *options, double tolerance);

// Sets the iterations without progress, while not annealing, before a run stops as converged, at least 1. Default: 100.
uint32_t armor_options_set_patience(struct armor_options *options,
                                    size_t iterations);

// Sets the annealing's temperature at the start, 0 (greedy) to 100, in units of the mean loss of one group. Default:
// 1.5 (exact), 0 (paper). Only ARMOR_METHOD_EXACT anneals.
uint32_t armor_options_set_temperature(struct armor_options *options,
                                       double tau);

// Sets the largest extrapolation along the factors' last change, 0 (none) to below 1. Default: 0.95 (exact), 0
// (paper). Only ARMOR_METHOD_EXACT extrapolates.
uint32_t armor_options_set_max_extrapolation(struct armor_options *options,
                                             double beta);

// Sets the learning rate of ARMOR_METHOD_PAPER's Adam, above 0 to 1. Default: 1e-4.
uint32_t armor_options_set_learning_rate(struct armor_options *options, double rate);

// Sets the seed of every random choice. Default: 0. The same seed gives the same bits for any number of threads.
uint32_t armor_options_set_seed(struct armor_options *options,
                                uint64_t seed);

// Sets the worker threads of a run, 0 to 1024. Default: 0, one pool for the whole process with a thread a core, or as
// many as the environment variable RAYON_NUM_THREADS says; another number starts a pool for the run.
uint32_t armor_options_set_threads(struct armor_options *options,
                                   size_t threads);

// Sets which output error is minimised, ARMOR_OBJECTIVE_*. Default: ARMOR_OBJECTIVE_DIAGONAL. The full one takes
// O(m k^2) an iteration.
uint32_t armor_options_set_objective(struct armor_options *options,
                                     uint32_t objective);

// Sets the shrinkage of the full Hessian towards its diagonal, 0 (as it is) to 1 (its diagonal). Default: 0.5.
uint32_t armor_options_set_shrinkage(struct armor_options *options,
                                     double alpha);

// Sets which rows' errors count more, ARMOR_ROWS_*. Default: ARMOR_ROWS_NOWAG with the diagonal objective, which is the
// paper's proxy loss, and ARMOR_ROWS_ALIKE, the true output error, with the full one.
uint32_t armor_options_set_row_weighting(struct armor_options *options,
                                         uint32_t weighting);

// Sets the most bytes of working memory that the full objective may take on top of the diagonal one's; 0, the default,
// is no limit. A run that cannot keep within it fails with ARMOR_MEMORY_LIMIT and says what it needs.
uint32_t armor_options_set_memory_limit(struct armor_options *options,
                                        size_t bytes);

// Writes to out the relative output error tr((W - V) H (W - V)^T) / tr(W H W^T) of a factorisation V = A S B of the
// weight W, computed in double precision. The Hessian may be another than the one fitted to: one held out says what the
// fit is worth. ARMOR_HESSIAN_FULL takes all of H, ARMOR_HESSIAN_DIAGONAL its diagonal.
//
// Any thread may call it. Fails as armor_factorize does for its weight and Hessian, and with ARMOR_INVALID_SHAPE for a
// weight of another shape than the factorisation's.
uint32_t armor_factorization_output_error(const struct armor_factorization *factorization,
                                          const struct armor_matrix *weight,
                                          const struct armor_hessian *hessian,
                                          double *out);

// Factorises a weight, m x k, under the Hessian of its k inputs, and writes the handle of the result to out; free it
// with armor_factorization_free. weight and hessian are read in place and not kept.
//
// options may be NULL: the preset exact. progress may be NULL; user is handed to it as it is and may be NULL. A run that
// progress cancels is a success: its best state, with ARMOR_STOP_CANCELLED in the report.
//
// Any thread may call it, several at once. Fails with ARMOR_NULL_POINTER, ARMOR_MISALIGNED, ARMOR_OVERLAP (out lies in
// memory that is read), ARMOR_SIZE_OVERFLOW, ARMOR_UNKNOWN_DTYPE, ARMOR_UNKNOWN_VALUE, ARMOR_INVALID_SHAPE (an empty
// weight, a row stride below the columns, a Hessian of another length, columns that are no multiple of the pattern's
// M), ARMOR_NOT_FINITE, ARMOR_NEGATIVE, ARMOR_OPTION_OUT_OF_RANGE, ARMOR_WRONG_HANDLE, ARMOR_THREADS; and with the full
// objective ARMOR_ASYMMETRIC, ARMOR_HESSIAN_NOT_FULL, ARMOR_MEMORY_LIMIT.
uint32_t armor_factorize(const struct armor_matrix *weight,
                         const struct armor_hessian *hessian,
                         const struct armor_options *options,
                         armor_progress_fn progress,
                         void *user,
                         struct armor_factorization **out);

// Frees a factorisation; NULL is fine. No other call may be using it.
uint32_t armor_factorization_free(struct armor_factorization *factorization);

// Writes the shapes of a factorisation to out, whose struct_size the caller has set.
uint32_t armor_factorization_get_sizes(const struct armor_factorization *factorization,
                                       struct armor_sizes *out);

// Writes the record of a run to out, whose struct_size the caller has set.
uint32_t armor_factorization_get_report(const struct armor_factorization *factorization,
                                        struct armor_report *out);

// Gives a lower-case word for a reason to stop, ARMOR_STOP_*; "unknown" for a number that is none. Never NULL; the
// text lives as long as the library. Any thread may call it.
const char *armor_stop_reason_name(uint32_t stop_reason);

// Copies the left wrapper A to buffer, which holds capacity elements: left_blocks blocks of p x p, row-major, a smaller
// last one padded with zeros.
//
// In this and the other copies: needed, which may be NULL, gets the number of elements, also on ARMOR_BUFFER_TOO_SMALL,
// when nothing else is written; buffer NULL with capacity 0 asks for it. Any thread may call them, several at once.
uint32_t armor_factorization_copy_left(const struct armor_factorization *factorization,
                                       float *buffer,
                                       size_t capacity,
                                       size_t *needed);

// Copies the right wrapper B, as armor_factorization_copy_left does A: right_blocks blocks of q x q.
uint32_t armor_factorization_copy_right(const struct armor_factorization *factorization,
                                        float *buffer,
                                        size_t capacity,
                                        size_t *needed);

// Copies the core's kept values: m x kN/M, row by row in ascending column order.
uint32_t armor_factorization_copy_core_values(const struct armor_factorization *factorization,
                                              float *buffer,
                                              size_t capacity,
                                              size_t *needed);

// Copies which columns the core keeps: m rows of k / 8 bytes, rounded up; column j is bit j % 8 of byte j / 8.
uint32_t armor_factorization_copy_core_bitmask(const struct armor_factorization *factorization,
                                               uint8_t *buffer,
                                               size_t capacity,
                                               size_t *needed);

// Copies the core S as a dense matrix, m x k, row-major, zeros included.
uint32_t armor_factorization_copy_core_dense(const struct armor_factorization *factorization,
                                             float *buffer,
                                             size_t capacity,
                                             size_t *needed);

// Copies the relative proxy loss as the run saw it: of the initial mask, then after every iteration.
uint32_t armor_factorization_copy_history(const struct armor_factorization *factorization,
                                          double *buffer,
                                          size_t capacity,
                                          size_t *needed);

// Computes what replaces the weight, A * S * B, m x k, row-major; in f64, rounded to the nearest f32.
uint32_t armor_factorization_reconstruct(const struct armor_factorization *factorization,
                                         float *buffer,
                                         size_t capacity,
                                         size_t *needed);

// Computes y = A * (S * (B * x)) for one input x of x_len = k elements, in f64; writes m elements to y. NaN and
// infinities in x spread as in any product. x and y may not overlap. A plain reference, not a fast kernel.
uint32_t armor_factorization_apply(const struct armor_factorization *factorization,
                                   const float *x,
                                   size_t x_len,
                                   float *y,
                                   size_t capacity,
                                   size_t *needed);

// Writes a factorisation as a safetensors file to buffer, which holds capacity bytes. name is that of the weight
// without ".weight", UTF-8; docs/c-api.md lists the tensors. Equal factorisations give equal bytes.
//
// needed, which may be NULL, gets the number of bytes, also on ARMOR_BUFFER_TOO_SMALL, when nothing else is written;
// buffer NULL with capacity 0 asks for it. Fails with ARMOR_INVALID_TEXT for a name that is not UTF-8.
uint32_t armor_factorization_serialize(const struct armor_factorization *factorization,
                                       const char *name,
                                       uint8_t *buffer,
                                       size_t capacity,
                                       size_t *needed);

// Reads the factorisation of name from len bytes of a safetensors file, and writes its handle to out; free it with
// armor_factorization_free. The bytes need no alignment and are not kept.
//
// Fails with ARMOR_INVALID_BYTES, and a message that names the key, for a file that is cut off, lies about its data,
// lacks a tensor, or holds a wrong shape, a mask that is not N:M or a value that is not finite.
uint32_t armor_factorization_deserialize(const uint8_t *bytes,
                                         size_t len,
                                         const char *name,
                                         struct armor_factorization **out);

// Makes an accumulator over so many inputs, k, with no tokens, and writes its handle to out. kind is
// ARMOR_HESSIAN_DIAGONAL, for k doubles of memory, or ARMOR_HESSIAN_FULL, for at most k x k.
//
// Fails with ARMOR_INVALID_SHAPE for no inputs, ARMOR_SIZE_OVERFLOW, ARMOR_UNKNOWN_VALUE.
uint32_t armor_accumulator_create(size_t inputs, uint32_t kind, struct armor_accumulator **out);

// Frees an accumulator; NULL is fine. No other call may be using it.
uint32_t armor_accumulator_free(struct armor_accumulator *accumulator);

// Adds the activations of some tokens, a row each of k columns, read in place and not kept. Some hundred rows a call
// run fastest; it works on the process's pool of threads.
//
// Fails with ARMOR_NULL_POINTER, ARMOR_MISALIGNED, ARMOR_SIZE_OVERFLOW, ARMOR_UNKNOWN_DTYPE, ARMOR_INVALID_SHAPE (no
// rows, a row stride below the columns, other columns than k) or ARMOR_NOT_FINITE (an entry that is NaN, infinite or
// beyond 1e18 either way, with its row and column); nothing is added then.
uint32_t armor_accumulator_add(struct armor_accumulator *accumulator,
                               const struct armor_matrix *activations);

// Adds the tokens of another accumulator, which is left as it is.
//
// Fails with ARMOR_INVALID_SHAPE where the two are not of the same kind and inputs, and with ARMOR_OVERLAP where they
// are one.
uint32_t armor_accumulator_merge(struct armor_accumulator *accumulator,
                                 const struct armor_accumulator *other);

// Writes the number of tokens added so far to out.
uint32_t armor_accumulator_tokens(const struct armor_accumulator *accumulator, uint64_t *out);

// Copies the mean over all tokens so far to buffer, which holds capacity elements: k for the diagonal, k x k, row-major
// and symmetric, for the whole Hessian. More tokens may follow.
//
// needed, which may be NULL, gets the number of elements, also on ARMOR_BUFFER_TOO_SMALL, when nothing else is written;
// buffer NULL with capacity 0 asks for it. Fails with ARMOR_INVALID_SHAPE where no tokens were added, and with
// ARMOR_NOT_FINITE where sums that were read from bytes leave float's range.
uint32_t armor_accumulator_copy(const struct armor_accumulator *accumulator,
                                float *buffer,
                                size_t capacity,
                                size_t *needed);

// Writes an accumulator as a safetensors file to buffer, which holds capacity bytes. name is that of the weight without
// ".weight", UTF-8; docs/c-api.md lists the tensors. Equal accumulators give equal bytes.
//
// needed, which may be NULL, gets the number of bytes, also on ARMOR_BUFFER_TOO_SMALL, when nothing else is written;
// buffer NULL with capacity 0 asks for it. Fails with ARMOR_INVALID_TEXT for a name that is not UTF-8.
uint32_t armor_accumulator_serialize(const struct armor_accumulator *accumulator,
                                     const char *name,
                                     uint8_t *buffer,
                                     size_t capacity,
                                     size_t *needed);

// Reads the accumulator of name from len bytes of a safetensors file, and writes its handle to out. The bytes need no
// alignment and are not kept.
//
// Fails with ARMOR_INVALID_BYTES, and a message that names the key, for a file that is cut off, lies about its data,
// lacks the tensor, or holds sums that no activations have.
uint32_t armor_accumulator_deserialize(const uint8_t *bytes,
                                       size_t len,
                                       const char *name,
                                       struct armor_accumulator **out);

// Opens a job that len bytes of JSON in UTF-8 describe, and writes its handle to out; free it with armor_job_free.
// docs/checkpoints.md lists the keys; a NUL at the end is not needed and not allowed. All headers are read and checked,
// and unless "check_values" is false all tensors, and what is done of the job. Nothing is written yet.
//
// Fails with ARMOR_INVALID_TEXT, ARMOR_INVALID_SETTINGS, ARMOR_OPTION_OUT_OF_RANGE, ARMOR_FILE, ARMOR_INVALID_CHECKPOINT
// (with file and tensor), ARMOR_NOT_FINITE, ARMOR_NEGATIVE, ARMOR_OTHER_JOB, ARMOR_THREADS.
uint32_t armor_job_create(const uint8_t *settings,
                          size_t len,
                          struct armor_job **out);

// Frees a job, of which all that was done stays on disk; NULL is fine. No other call may be using it.
uint32_t armor_job_free(struct armor_job *job);

// Writes the number of layers to out. Layers have indices from 0, in the order of their names, numbers by value.
uint32_t armor_job_layer_count(const struct armor_job *job,
                               size_t *out);

// Copies the name of a layer's weight to buffer, which holds capacity bytes, with a NUL at its end. needed, which may be
// NULL, gets the bytes with that NUL, also on ARMOR_BUFFER_TOO_SMALL; buffer NULL with capacity 0 asks for it.
uint32_t armor_job_layer_name(const struct armor_job *job,
                              size_t index,
                              char *buffer,
                              size_t capacity,
                              size_t *needed);

// Writes to out whether a layer is done, by whatever process: 1 or 0.
uint32_t armor_job_layer_done(const struct armor_job *job, size_t index, uint32_t *out);

// Compresses a layer and keeps the result in the job's folder; returns at once if it is done. progress may be NULL, user
// is handed to it as it is. A layer that progress cancels is not kept: ARMOR_CANCELLED.
//
// Fails with ARMOR_FILE where the result cannot be written, ARMOR_UNREPRESENTABLE for a value beyond the job's dtype (the
// layer is kept, and can be had in another dtype), ARMOR_OTHER_JOB where an input has changed or the job's folder was
// removed, ARMOR_NO_SUCH_LAYER, and as armor_job_create for what files hold.
uint32_t armor_job_run_layer(const struct armor_job *job,
                             size_t index,
                             armor_progress_fn progress,
                             void *user);

// Writes the compressed checkpoint, once all layers are done; does nothing if it is written. Of several processes that
// call it one writes, and the others wait for it. Fails with ARMOR_JOB_UNFINISHED, ARMOR_FILE, ARMOR_UNREPRESENTABLE, and
// ARMOR_OTHER_JOB where an input has changed, or another process has finished the job in another format or dtype.
uint32_t armor_job_finish(const struct armor_job *job);

// Copies the report of a finished job, the text of report.json, as armor_job_layer_name does a name. Fails with
// ARMOR_JOB_UNFINISHED before armor_job_finish.
uint32_t armor_job_report(const struct armor_job *job,
                          char *buffer,
                          size_t capacity,
                          size_t *needed);

// Packs a factorisation for fast products, its numbers rounded to dtype (ARMOR_DTYPE_F32, _F16 or _BF16), and writes
// the handle to out; free it with armor_packed_free. The factorisation may be freed at once.
//
// threads says on how many threads products run: 0 for the pool of the process, 1 for the calling thread alone, more
// for a pool of this handle's own, at most 1024. Results do not depend on it. Fails with ARMOR_UNKNOWN_DTYPE,
// ARMOR_NOT_FINITE (a number beyond f16), ARMOR_OPTION_OUT_OF_RANGE and ARMOR_THREADS.
uint32_t armor_packed_create(const struct armor_factorization *factorization,
                             uint32_t dtype,
                             size_t threads,
                             struct armor_packed **out);

// Frees a packed factorisation; NULL is fine. No other call may be using it.
uint32_t armor_packed_free(struct armor_packed *packed);

// Writes shapes and bytes of a packed factorisation to out, whose struct_size the caller has set.
uint32_t armor_packed_get_sizes(const struct armor_packed *packed, struct armor_packed_sizes *out);

// Writes to out how many float a product with batch vectors needs as scratch. It stops growing at 64 vectors.
uint32_t armor_packed_scratch_len(const struct armor_packed *packed, size_t batch, size_t *out);

// Computes y = A * (S * (B * x)) for one input x of x_len = k elements; writes m elements to y, which holds capacity.
//
// scratch is working memory of scratch_len elements, at least what armor_packed_scratch_len says for 1; NULL with
// scratch_len 0 lets the call allocate it. No two of x, y and scratch may overlap; calls that go on at the same time
// need scratch of their own. Sums are float. An x with NaN or infinities gives what the dense matrix would, at the price
// of a product for every infinity. Fails with ARMOR_INVALID_SHAPE for an x of another length, ARMOR_BUFFER_TOO_SMALL for
// y or scratch, ARMOR_THREADS; y is then unchanged.
uint32_t armor_packed_apply(const struct armor_packed *packed,
                            const float *x,
                            size_t x_len,
                            float *y,
                            size_t capacity,
                            float *scratch,
                            size_t scratch_len);

// Computes y = A * (S * (B * x)) for the rows of x, a batch x k matrix of any dtype, read in place and rounded to float.
//
// Row i of y, m elements, starts at element i * y_row_stride, which is at least m; y holds capacity elements, at least
// (batch - 1) * y_row_stride + m. scratch is as in armor_packed_apply, for batch. Every vector's result has the bits
// that it has alone. A batch of 0 is refused. Fails with ARMOR_INVALID_SHAPE, ARMOR_UNKNOWN_DTYPE, ARMOR_BUFFER_TOO_SMALL
// and ARMOR_THREADS; y is then unchanged.
uint32_t armor_packed_apply_batch(const struct armor_packed *packed,
                                  const struct armor_matrix *x,
                                  float *y,
                                  size_t y_row_stride,
                                  size_t capacity,
                                  float *scratch,
                                  size_t scratch_len);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* ARMOR_H */
