/*
 * armor factorises the weight W of a linear layer, an m x k matrix (m outputs, k inputs), into a product A * S * B. The
 * core S is an N:M sparse m x k matrix: of every M neighbouring entries of a row, it keeps N. The wrappers A (m x m) and
 * B (k x k) are block-diagonal matrices. The method is ARMOR (arXiv 2510.05528).
 *
 * cbindgen generates this file from the source of the library, so do not edit it. docs/c-api.md is the manual.
 *
 * Every call that can fail returns a status: ARMOR_OK, or the reason of the failure. After a failure,
 * armor_last_error_message returns a text that names the argument, what was wrong with it, and where. A call that
 * fails does not write its results; the only exception is `needed`, see armor_factorization_copy_left. Sizes and strides count elements. Handles are the only objects that the caller frees, with
 * the function of their type; NULL is allowed. Texts are UTF-8 and end with a NUL byte.
 */


#ifndef ARMOR_H
#define ARMOR_H

#include <stddef.h>
#include <stdint.h>

// The version of the ABI that this header describes. It grows by one whenever the ABI changes. docs/c-api.md says
// which changes also change the library's soname.
#define ARMOR_ABI_VERSION 5

// The library has the functions armor_job_*: it was built with the feature `checkpoint`.
#define ARMOR_FEATURE_CHECKPOINT 1

// The library computes Cholesky factorisations with the system's LAPACK: it was built with the feature `lapack`.
#define ARMOR_FEATURE_LAPACK 2

// The call succeeded.
#define ARMOR_OK 0

// A required pointer is NULL.
#define ARMOR_NULL_POINTER 1

// A pointer is not a multiple of the alignment of its type.
#define ARMOR_MISALIGNED 2

// Memory that the call writes overlaps other memory that the call uses.
#define ARMOR_OVERLAP 3

// A size or a stride reaches beyond the address space.
#define ARMOR_SIZE_OVERFLOW 4

// A dtype is not one of ARMOR_DTYPE_*, or the call does not support it.
#define ARMOR_UNKNOWN_DTYPE 5

// Another constant is not one of those that the argument accepts.
#define ARMOR_UNKNOWN_VALUE 6

// A matrix is empty, or two sizes do not match.
#define ARMOR_INVALID_SHAPE 7

// An entry is NaN, infinite or outside the range of a 32-bit float.
#define ARMOR_NOT_FINITE 8

// A diagonal entry of a Hessian is negative, or another entry is larger than the diagonal allows.
#define ARMOR_NEGATIVE 9

// An option is outside its range.
#define ARMOR_OPTION_OUT_OF_RANGE 10

// The caller's buffer is too small. The needed size was written to `needed`, if that is an argument.
#define ARMOR_BUFFER_TOO_SMALL 11

// The bytes do not contain a valid factorisation or accumulator.
#define ARMOR_INVALID_BYTES 12

// A text is not valid UTF-8.
#define ARMOR_INVALID_TEXT 13

// A handle has another type than the call expects.
#define ARMOR_WRONG_HANDLE 14

// The struct_size of a struct is smaller than the first version of that struct.
#define ARMOR_STRUCT_SIZE 15

// The worker threads could not be started, or they belong to the parent of a forked process.
#define ARMOR_THREADS 16

// A full Hessian is not symmetric.
#define ARMOR_ASYMMETRIC 17

// The call needs the full Hessian, but only its diagonal was given.
#define ARMOR_HESSIAN_NOT_FULL 18

// The run needs more working memory than its options allow.
#define ARMOR_MEMORY_LIMIT 19

// A file or a folder cannot be read or written.
#define ARMOR_FILE 32

// A file does not contain the expected tensors.
#define ARMOR_INVALID_CHECKPOINT 33

// Settings or options are not valid JSON, or one of them is wrong.
#define ARMOR_INVALID_SETTINGS 34

// The output folder contains files that do not belong to this job.
#define ARMOR_OTHER_JOB 35

// The job has not reached the state that the call needs.
#define ARMOR_JOB_UNFINISHED 36

// The progress function cancelled the call, and nothing was stored.
#define ARMOR_CANCELLED 37

// A value is outside the range of the type in which it would be stored, or the format cannot store this core.
#define ARMOR_UNREPRESENTABLE 38

// The job has no layer with this index.
#define ARMOR_NO_SUCH_LAYER 39

// An internal error of the library. The caller's handles and buffers stay valid.
#define ARMOR_PANIC 255

// IEEE single precision, 32 bits: `float`.
#define ARMOR_DTYPE_F32 1

// IEEE double precision, 64 bits: `double`.
#define ARMOR_DTYPE_F64 2

// IEEE half precision, 16 bits.
#define ARMOR_DTYPE_F16 3

// bfloat16, 16 bits: the upper half of a `float`.
#define ARMOR_DTYPE_BF16 4

// The diagonal of the Hessian: len numbers.
#define ARMOR_HESSIAN_DIAGONAL 1

// The full Hessian: len rows of len numbers, symmetric. A run with ARMOR_OBJECTIVE_DIAGONAL reads its diagonal only.
#define ARMOR_HESSIAN_FULL 2

// No calibration data: all inputs have the weight 1, and the library ignores data, row_stride and dtype.
#define ARMOR_HESSIAN_IDENTITY 3

// Exact updates with annealing and extrapolation. This is the default.
#define ARMOR_PRESET_EXACT 1

// The procedure of the ARMOR paper (arXiv 2510.05528).
#define ARMOR_PRESET_PAPER 2

// An iteration solves the least-squares problem of each wrapper exactly, then finds the best mask and values of every
// group of the core.
#define ARMOR_METHOD_EXACT 1

// An iteration makes one Adam step on all factors, then updates one randomly chosen group in every block, as in the
// ARMOR paper.
#define ARMOR_METHOD_PAPER 2

// An iteration makes one gradient step on A, on B and on the values of the core, then updates one randomly chosen group
// in every block, as in the convergence proof of the ARMOR paper.
#define ARMOR_METHOD_GRADIENT 3

// The squared errors of the entries, each weighted by its input's entry on the Hessian's diagonal, as in the ARMOR paper.
#define ARMOR_OBJECTIVE_DIAGONAL 1

// The output error under the full Hessian. It needs ARMOR_HESSIAN_FULL and ARMOR_METHOD_EXACT.
#define ARMOR_OBJECTIVE_FULL 2

// Every row has the weight that NoWag gives it: an error counts relative to the size of its row.
#define ARMOR_ROWS_NOWAG 1

// All rows have the same weight.
#define ARMOR_ROWS_UNIFORM 2

// The run draws the masks at random, at a temperature above zero: the loss may rise.
#define ARMOR_PHASE_ANNEALING 1

// Every step takes the best mask that it finds.
#define ARMOR_PHASE_DESCENDING 2

// The run has done all its iterations.
#define ARMOR_STOP_ITERATIONS 1

// The loss has stopped falling: no progress in as many iterations as the option patience says.
#define ARMOR_STOP_CONVERGED 2

// The time budget is used up.
#define ARMOR_STOP_TIME_BUDGET 3

// The progress function has cancelled the run.
#define ARMOR_STOP_CANCELLED 4

// An accumulator of the Hessian H = (1/N) * sum of x * x^T over the activations x of N tokens. The result can be the data
// of an armor_hessian. armor_accumulator_create or armor_accumulator_deserialize creates an accumulator, and
// armor_accumulator_free frees it. Any thread may use it at any time, but only one call at a time works with it, and the
// other calls wait. To work in parallel, create one accumulator per thread and merge them.
typedef struct armor_accumulator armor_accumulator;

// A factorised layer: the product A * S * B that replaces the weight W. The wrappers A and B include all scales. A
// factorisation never changes, so any number of threads may read it. armor_factorization_free frees it.
typedef struct armor_factorization armor_factorization;

// A job that compresses a checkpoint, layer by layer. armor_job_free frees it. Any thread may use it, and several threads
// may run layers at the same time. Several processes may open the same job, each with "resume": true in its settings.
//
// Only a library that was built with the feature `checkpoint` has the functions armor_job_*: a program that calls them
// does not link with another library. armor_features tells at run time whether the library has them.
typedef struct armor_job armor_job;

// The options of a factorisation. armor_options_create creates them, armor_options_free frees them. Any thread may use
// them at any time. A run uses the values at the time of its start, and later changes do not affect it.
typedef struct armor_options armor_options;

// A factorised layer in the memory order that fast kernels read. It never changes, so any number of threads may use it;
// armor_packed_free frees it. It does not need the factorisation that it was made from.
typedef struct armor_packed armor_packed;

// An accumulator of pairs (x, y) over N tokens: x is the input of a layer in the dense model, and y is the input of the
// same layer, for the same token, if the layers before it are already compressed. A compressed layer sees y, but its
// output should be W * x. From the pairs the library computes the Hessian of y and a weight that makes up for the
// difference. armor_pair_accumulator_create or armor_pair_accumulator_deserialize creates an accumulator, and
// armor_pair_accumulator_free frees it. Any thread may use it at any time, but only one call at a time works with it, and
// the other calls wait. To work in parallel, create one accumulator per thread and merge them.
typedef struct armor_pair_accumulator armor_pair_accumulator;

// A matrix in the caller's memory, which the library reads in place. Entry (i, j) is the element
// data[i * row_stride + j].
//
// data must point to (rows - 1) * row_stride + cols elements. The library does not read the elements between the rows.
// rows * row_stride elements must fit into the address space, also for a matrix of one row.
typedef struct armor_matrix {
    // Pointer to the first element, aligned to its type.
    const void *data;
    // Number of rows: the output features of a weight (m), or tokens, or vectors of a batch.
    size_t rows;
    // Number of columns: the input features (k).
    size_t cols;
    // Distance between the starts of two rows, in elements; at least cols.
    size_t row_stride;
    // Type of the elements, ARMOR_DTYPE_*.
    uint32_t dtype;
} armor_matrix;

// The Hessian of a layer's inputs, H = (1/N) * sum of x * x^T over N tokens, in the caller's memory. The library reads
// it in place.
//
// An input whose diagonal entry is 0 was zero on every token. It does not count: pruning removes its weights before those
// of any other input, and errors in them have the weight 0 in every loss. A Hessian that is all zero is used like
// ARMOR_HESSIAN_IDENTITY. The field dead_inputs of armor_report counts such inputs.
typedef struct armor_hessian {
    // Pointer to the first element, aligned to its type.
    const void *data;
    // Number of inputs: the columns of the weight (k).
    size_t len;
    // Distance between the starts of two rows, in elements; at least len. Only ARMOR_HESSIAN_FULL uses it.
    size_t row_stride;
    // What data contains, ARMOR_HESSIAN_*.
    uint32_t kind;
    // Type of the elements, ARMOR_DTYPE_*.
    uint32_t dtype;
} armor_hessian;

// The state of a run after an iteration. Later versions add fields at the end only.
typedef struct armor_progress {
    // Number of the iteration that has just ended, from 1.
    size_t iteration;
    // Largest number of iterations of the run.
    size_t iterations;
    // Relative proxy loss after this iteration.
    double loss;
    // Lowest relative proxy loss of the starting point and of all iterations so far.
    double best_loss;
    // Seconds since the start of the run.
    double seconds;
    // ARMOR_PHASE_*.
    uint32_t phase;
} armor_progress;

// A function of the caller that the library calls after every iteration. Only one thread at a time calls it, but this
// need not be the thread that called armor_factorize. A result other than 0 cancels the run. The function must return:
// no exception and no longjmp may leave it. `progress` is valid until the function returns; `user` is the pointer that
// the caller passed with the function.
typedef int (*armor_progress_fn)(const struct armor_progress *progress, void *user);

// The shape of a factorisation, and the length of every array that the copies return.
typedef struct armor_sizes {
    // Set this to sizeof(armor_sizes) before the call. The call changes it to the number of bytes that it has written.
    size_t struct_size;
    // Rows of the layer (m).
    size_t rows;
    // Columns of the layer (k).
    size_t cols;
    // Rows of a block of the left wrapper (p).
    size_t left_block;
    // Number of blocks of the left wrapper: m / p, rounded up.
    size_t left_blocks;
    // Columns of a block of the right wrapper (q).
    size_t right_block;
    // Number of blocks of the right wrapper: k / q, rounded up.
    size_t right_blocks;
    // Kept entries in each group of the core (N).
    size_t pattern_n;
    // Entries in each group of the core (M).
    size_t pattern_m;
    // Number of float values of the left wrapper: left_blocks * p * p.
    size_t left;
    // Number of float values of the right wrapper: right_blocks * q * q.
    size_t right;
    // Number of kept float values of the core: m * k * N / M.
    size_t core_values;
    // Number of bytes of the core's bitmask: m * (k / 8, rounded up).
    size_t core_bitmask;
    // Number of float values of the dense core and of the reconstruction: m * k.
    size_t dense;
    // Number of double values of the history: iterations + 1.
    size_t history;
} armor_sizes;

// The report of a run.
typedef struct armor_report {
    // Set this to sizeof(armor_report) before the call. The call changes it to the number of bytes that it has written.
    size_t struct_size;
    // Number of iterations that were done.
    size_t iterations;
    // Size of the stored factors in bytes, with 32-bit values, including the bitmask.
    size_t stored_bytes_f32;
    // Size of the stored factors in bytes, with 16-bit values, including the bitmask.
    size_t stored_bytes_f16;
    // Relative proxy loss: the error that the run minimises, divided by the error of a reconstruction that is zero
    // everywhere. It is 0 for an exact reconstruction.
    double loss;
    // Relative proxy loss of pruning without wrappers (the method NoWag-P). loss is never above it.
    double nowag_p_loss;
    // Number of values in both wrappers divided by the number of entries of the weight.
    double overhead;
    // Duration of the run in seconds; 0 for a factorisation that was read from bytes.
    double seconds;
    // Why the run has ended, ARMOR_STOP_*.
    uint32_t stop_reason;
    // Always 0; reserved for a later field.
    uint32_t reserved;
    // Number that was added to the unit diagonal of the inputs' correlation matrix so that it could be factorised; 0 if
    // this was not necessary.
    double ridge;
    // Number of inputs whose entry on the Hessian's diagonal is 0: they were zero on every calibration token, and errors
    // in their weights did not count. If it is the number of all inputs (k), the Hessian was all zero, and the run used
    // the identity instead.
    uint64_t dead_inputs;
} armor_report;

// What armor_pair_accumulator_correct has done, and what it can reach.
typedef struct armor_correction {
    // Set this to sizeof(armor_correction) before the call. The call changes it to the number of bytes that it has
    // written.
    size_t struct_size;
    // The part of the correction that was made.
    double strength;
    // The ridge that was used, relative to the mean of the Hessian's diagonal. It is larger than the given one if the
    // Hessian with that ridge could not be factorised safely.
    double ridge;
    // Mean of |W * x|^2, the energy of the dense layer's outputs.
    double energy;
    // Mean of |W * x - W * y|^2 divided by energy: the error of the layer without a correction.
    double drift;
    // The lowest mean of |W * x - V * y|^2 that any weight V has, divided by energy.
    double irreducible;
} armor_correction;

// Shapes of a packed factorisation, its bytes in memory, and its dtypes.
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
    // The dtype of the left wrapper A, ARMOR_DTYPE_*.
    uint32_t left_dtype;
    // The dtype of the core's kept values.
    uint32_t core_dtype;
    // The dtype of the right wrapper B.
    uint32_t right_dtype;
    // 0; reserved for a later field.
    uint32_t reserved;
} armor_packed_sizes;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Returns the ABI version of the loaded library. The library serves a program that was compiled with a header whose
// ARMOR_ABI_VERSION is equal or lower. Any thread may call this function.
uint32_t armor_abi_version(void);

// Returns the version of the loaded library as text, for example "0.1.0". The text stays valid as long as the library
// is loaded. Any thread may call this function.
const char *armor_version(void);

// Returns the optional parts of the loaded library: the sum of the ARMOR_FEATURE_* that it was built with. Any thread
// may call this function.
uint32_t armor_features(void);

// Returns a short description of a status number; "unknown status" for a number that is not a status. The result is
// never NULL, and stays valid as long as the library is loaded. Any thread may call this function.
const char *armor_status_message(uint32_t status);

// Returns the message of the last call that failed on this thread: which argument was wrong, what was wrong with it,
// and where (the first bad index). The text is empty if no call has failed on this thread. A call that succeeds does
// not change it. The result is never NULL, is UTF-8, and stays valid until the next failure on this thread or until
// the thread ends.
const char *armor_last_error_message(void);

// Creates the options of a preset, ARMOR_PRESET_*, and writes their handle to out. Free it with armor_options_free.
uint32_t armor_options_create(uint32_t preset,
                              struct armor_options **out);

// Creates options from a JSON object, and writes their handle to out. Free it with armor_options_free. json points to len
// bytes in UTF-8, without a NUL byte at the end.
//
// The object has one key for each armor_options_set_*, without that prefix: "method" is "exact", "paper" or "gradient",
// "objective" is "diagonal" or "full", "row_weighting" is "nowag", "uniform" or null (the default of the objective),
// "pattern" is a text such as "2:4", "time_budget" is a number of seconds or null (no limit), "memory_limit" is a number
// of bytes from 1 or null (no limit), and the others are numbers. Every key is optional. "preset" is "exact" (the default) or
// "paper", and gives the values of the missing keys. "block" is a number p, or two numbers [p, q], and gives left_block and
// right_block.
//
// The call fails with ARMOR_INVALID_TEXT; with ARMOR_INVALID_SETTINGS if the text is not a JSON object, if it has an
// unknown key or the same key twice, or if a value has the wrong type (the message contains the key); and with
// ARMOR_OPTION_OUT_OF_RANGE. The start of a run checks whether the options match each other.
uint32_t armor_options_from_json(const uint8_t *json,
                                 size_t len,
                                 struct armor_options **out);

// Writes all options as a JSON object, which armor_options_from_json reads, to buffer, which has space for capacity bytes.
// The text ends with a NUL byte.
//
// needed may be NULL; otherwise the number of bytes, including the NUL byte, is written there, also on
// ARMOR_BUFFER_TOO_SMALL, when nothing else is written. To ask for the number only, pass NULL and 0 for buffer and
// capacity.
uint32_t armor_options_to_json(const struct armor_options *options,
                               char *buffer,
                               size_t capacity,
                               size_t *needed);

// Frees options; NULL is allowed. No other call may use the options at this time, also no run.
uint32_t armor_options_free(struct armor_options *options);

// Sets the updates of an iteration, ARMOR_METHOD_*. Default: ARMOR_METHOD_EXACT (preset exact), ARMOR_METHOD_PAPER (preset
// paper).
uint32_t armor_options_set_method(struct armor_options *options,
                                  uint32_t method);

// Sets the number of rows of a block of the left wrapper (p), from 1 to 4096. Default: 64 (preset exact), 128 (preset
// paper). Larger blocks give a lower loss and larger wrappers. A block that is larger than the layer is the whole layer.
uint32_t armor_options_set_left_block(struct armor_options *options,
                                      size_t rows);

// Sets the number of columns of a block of the right wrapper (q), from 1 to 4096 and a multiple of the pattern's M. Set
// the pattern before the block. Default: 64 (preset exact), 128 (preset paper).
uint32_t armor_options_set_right_block(struct armor_options *options,
                                       size_t cols);

// Sets the sparsity pattern n:m of the core, with 0 < n < m <= 8: the core keeps n of every m neighbouring entries of a
// row. Default: 2:4. At the start of a run the number of columns of the layer and the right block must be multiples of m.
uint32_t armor_options_set_pattern(struct armor_options *options,
                                   size_t n,
                                   size_t m);

// Sets the largest number of iterations, from 1 to 10,000,000, and with it the length of the annealing. Default: 120
// (preset exact), 20,000 (preset paper).
uint32_t armor_options_set_iterations(struct armor_options *options,
                                      size_t iterations);

// Sets the time limit of a run in seconds, above 0. Default: infinity, which means no limit. Two runs that a time limit
// has shortened may give different results.
uint32_t armor_options_set_time_budget(struct armor_options *options,
                                       double seconds);

// Sets the smallest relative fall of the loss that counts as progress, at least 0 and below 1. Default: 1e-6.
uint32_t armor_options_set_tolerance(struct armor_options *options, double tolerance);

// Sets the number of iterations without progress after which a run stops as converged, at least 1. Iterations of the
// annealing do not count. Default: 100.
uint32_t armor_options_set_patience(struct armor_options *options,
                                    size_t iterations);

// Sets the temperature at the start of the annealing, from 0 (no annealing) to 100, in units of the mean loss of one group.
// Default: 1.5 (preset exact), 0 (preset paper). Only ARMOR_METHOD_EXACT uses it.
uint32_t armor_options_set_temperature(struct armor_options *options,
                                       double tau);

// Sets the largest factor of the extrapolation: before an iteration the factors continue their last change by up to this
// factor. At least 0 (no extrapolation) and below 1. Default: 0.95 (preset exact), 0 (preset paper). Only
// ARMOR_METHOD_EXACT uses it.
uint32_t armor_options_set_max_extrapolation(struct armor_options *options,
                                             double beta);

// Sets the learning rate of the Adam steps of ARMOR_METHOD_PAPER, above 0 and at most 1. Default: 1e-4.
uint32_t armor_options_set_learning_rate(struct armor_options *options, double rate);

// Sets the seed of all random choices. Default: 0. The same seed gives exactly the same result, for any number of threads.
uint32_t armor_options_set_seed(struct armor_options *options,
                                uint64_t seed);

// Sets the number of worker threads of a run, from 0 to 1024. Default: 0, which means the thread pool that all calls of the
// process share. That pool has one thread per core, or as many as the environment variable RAYON_NUM_THREADS says. Any
// other number starts a separate pool for the run.
uint32_t armor_options_set_threads(struct armor_options *options,
                                   size_t threads);

// Sets the error that a run minimises, ARMOR_OBJECTIVE_*. Default: ARMOR_OBJECTIVE_DIAGONAL. An iteration with
// ARMOR_OBJECTIVE_FULL takes a time in O(m k^2).
uint32_t armor_options_set_objective(struct armor_options *options,
                                     uint32_t objective);

// Sets the shrinkage of the full Hessian towards its diagonal, from 0 (the Hessian itself) to 1 (only its diagonal).
// Default: 0.5.
uint32_t armor_options_set_shrinkage(struct armor_options *options,
                                     double alpha);

// Sets the weights of the rows' errors, ARMOR_ROWS_*. Default: ARMOR_ROWS_NOWAG with ARMOR_OBJECTIVE_DIAGONAL, which is the
// proxy loss of the ARMOR paper; ARMOR_ROWS_UNIFORM with ARMOR_OBJECTIVE_FULL, which is the output error of the layer.
uint32_t armor_options_set_row_weighting(struct armor_options *options,
                                         uint32_t weighting);

// Sets the limit in bytes for the working memory that ARMOR_OBJECTIVE_FULL uses in addition to the memory of
// ARMOR_OBJECTIVE_DIAGONAL. Default: 0, which means no limit. A run that needs more fails with ARMOR_MEMORY_LIMIT, and the
// message contains the needed number of bytes.
uint32_t armor_options_set_memory_limit(struct armor_options *options,
                                        size_t bytes);

// Frees a factorisation; NULL is allowed. No other call may use the factorisation at this time.
uint32_t armor_factorization_free(struct armor_factorization *factorization);

// Factorises a weight (m x k) under the Hessian of its k inputs, and writes a handle of the result to out. Free the
// handle with armor_factorization_free. The library reads weight and hessian in place, and only during the call.
//
// options may be NULL, which means the preset ARMOR_PRESET_EXACT. progress may be NULL. The library passes user to
// progress unchanged; user may be NULL. If progress cancels the run, the call succeeds: the result is the best state so
// far, and its report contains ARMOR_STOP_CANCELLED.
//
// Any thread may call this function, and several threads may call it at the same time. It fails with ARMOR_NULL_POINTER,
// ARMOR_MISALIGNED, ARMOR_OVERLAP (out is inside memory that the call reads), ARMOR_SIZE_OVERFLOW, ARMOR_UNKNOWN_DTYPE,
// ARMOR_UNKNOWN_VALUE, ARMOR_INVALID_SHAPE (an empty weight, a row stride below the number of columns, a Hessian for
// another number of columns, or columns that are not a multiple of the pattern's M), ARMOR_NOT_FINITE (the message
// contains the row and column), ARMOR_NEGATIVE, ARMOR_OPTION_OUT_OF_RANGE, ARMOR_WRONG_HANDLE or ARMOR_THREADS. With
// ARMOR_OBJECTIVE_FULL it also fails with ARMOR_HESSIAN_NOT_FULL, ARMOR_ASYMMETRIC or ARMOR_MEMORY_LIMIT.
uint32_t armor_factorize(const struct armor_matrix *weight,
                         const struct armor_hessian *hessian,
                         const struct armor_options *options,
                         armor_progress_fn progress,
                         void *user,
                         struct armor_factorization **out);

// Writes the sizes of a factorisation to out. Set out->struct_size before the call.
uint32_t armor_factorization_get_sizes(const struct armor_factorization *factorization,
                                       struct armor_sizes *out);

// Writes the report of the run to out. Set out->struct_size before the call.
uint32_t armor_factorization_get_report(const struct armor_factorization *factorization,
                                        struct armor_report *out);

// Returns the name of an ARMOR_STOP_* in lower case; "unknown" for another number. The result is never NULL, and stays
// valid as long as the library is loaded. Any thread may call this function.
const char *armor_stop_reason_name(uint32_t stop_reason);

// Copies the left wrapper A to buffer, which has space for capacity elements: left_blocks blocks of p x p values,
// row-major. A smaller last block is padded with zeros.
//
// For this copy and the others: needed may be NULL; otherwise the number of elements is written there, also on
// ARMOR_BUFFER_TOO_SMALL, when nothing else is written. To ask for the number only, pass NULL and 0 for buffer and
// capacity. Any thread may call the copies, and several threads may call them at the same time.
uint32_t armor_factorization_copy_left(const struct armor_factorization *factorization,
                                       float *buffer,
                                       size_t capacity,
                                       size_t *needed);

// Copies the right wrapper B in the layout of armor_factorization_copy_left: right_blocks blocks of q x q values.
uint32_t armor_factorization_copy_right(const struct armor_factorization *factorization,
                                        float *buffer,
                                        size_t capacity,
                                        size_t *needed);

// Copies the kept values of the core: m rows of k * N / M values, each row in ascending order of the columns.
uint32_t armor_factorization_copy_core_values(const struct armor_factorization *factorization,
                                              float *buffer,
                                              size_t capacity,
                                              size_t *needed);

// Copies the bitmask of the kept entries of the core: m rows of k / 8 bytes, rounded up. Column j is bit j % 8 of byte
// j / 8; the bit is 1 if the entry is kept.
uint32_t armor_factorization_copy_core_bitmask(const struct armor_factorization *factorization,
                                               uint8_t *buffer,
                                               size_t capacity,
                                               size_t *needed);

// Copies the core S as a dense matrix: m x k values, row-major, including the zeros.
uint32_t armor_factorization_copy_core_dense(const struct armor_factorization *factorization,
                                             float *buffer,
                                             size_t capacity,
                                             size_t *needed);

// Copies the history of the relative proxy loss during the run: first with the initial mask, then after every iteration.
uint32_t armor_factorization_copy_history(const struct armor_factorization *factorization,
                                          double *buffer,
                                          size_t capacity,
                                          size_t *needed);

// Computes the product A * S * B, which replaces the weight: m x k values, row-major. The computation is in double
// precision, and the result is rounded to the nearest float.
uint32_t armor_factorization_reconstruct(const struct armor_factorization *factorization,
                                         float *buffer,
                                         size_t capacity,
                                         size_t *needed);

// Computes y = A * (S * (B * x)) in double precision for one input x with x_len = k elements, and writes m elements to y,
// which has space for capacity elements. x and y may not overlap. If x contains NaN or infinities, y contains what the
// products give. This is a simple reference; armor_packed_apply is the fast product.
uint32_t armor_factorization_apply(const struct armor_factorization *factorization,
                                   const float *x,
                                   size_t x_len,
                                   float *y,
                                   size_t capacity,
                                   size_t *needed);

// Writes the relative output error tr((W - V) H (W - V)^T) / tr(W H W^T) to out, where W is the weight and V = A * S * B
// is the factorisation. The computation is in double precision. The Hessian need not be the one of the factorisation: a
// Hessian from other data shows how good the factorisation is for data that it has not seen. With ARMOR_HESSIAN_FULL
// the call uses all of H, with ARMOR_HESSIAN_DIAGONAL only the diagonal.
//
// Any thread may call this function. It fails like armor_factorize for a wrong weight or Hessian, and with
// ARMOR_INVALID_SHAPE if the weight does not have the shape of the factorisation.
uint32_t armor_factorization_output_error(const struct armor_factorization *factorization,
                                          const struct armor_matrix *weight,
                                          const struct armor_hessian *hessian,
                                          double *out);

// Writes a factorisation as the bytes of a safetensors file to buffer, which has space for capacity bytes. name is the
// name of the weight without ".weight", in UTF-8. docs/c-api.md lists the tensors. Equal factorisations give equal
// bytes.
//
// needed may be NULL; otherwise the number of bytes is written there, also on ARMOR_BUFFER_TOO_SMALL, when nothing else
// is written. To ask for the number only, pass NULL and 0 for buffer and capacity. The call fails with
// ARMOR_INVALID_TEXT if name is not UTF-8.
uint32_t armor_factorization_serialize(const struct armor_factorization *factorization,
                                       const char *name,
                                       uint8_t *buffer,
                                       size_t capacity,
                                       size_t *needed);

// Reads the factorisation of the weight name from the len bytes of a safetensors file, and writes its handle to out. Free
// the handle with armor_factorization_free. The bytes need no alignment, and the library reads them only during the call.
//
// The call fails with ARMOR_INVALID_BYTES, and a message that contains the key, if the file is cut off, if it has another
// armor.format than the library reads, if its header does not match its data, if a tensor is missing or has a wrong shape, if a mask does not have the pattern N:M, or if a value
// is not finite.
uint32_t armor_factorization_deserialize(const uint8_t *bytes,
                                         size_t len,
                                         const char *name,
                                         struct armor_factorization **out);

// Creates an accumulator for a layer with this number of inputs (k), without tokens, and writes its handle to out. kind is
// ARMOR_HESSIAN_DIAGONAL, which needs memory for k doubles, or ARMOR_HESSIAN_FULL, which needs at most k x k doubles.
//
// The call fails with ARMOR_INVALID_SHAPE for 0 inputs, with ARMOR_SIZE_OVERFLOW or with ARMOR_UNKNOWN_VALUE.
uint32_t armor_accumulator_create(size_t inputs,
                                  uint32_t kind,
                                  struct armor_accumulator **out);

// Frees an accumulator; NULL is allowed. No other call may use the accumulator at this time.
uint32_t armor_accumulator_free(struct armor_accumulator *accumulator);

// Adds the activations of some tokens: one row of k columns per token. The library reads them in place, and only during
// the call. Calls with some hundred rows are the fastest. The call uses the thread pool of the process.
//
// The call fails with ARMOR_NULL_POINTER, ARMOR_MISALIGNED, ARMOR_SIZE_OVERFLOW, ARMOR_UNKNOWN_DTYPE, ARMOR_INVALID_SHAPE
// (no rows, a row stride below the number of columns, or a number of columns that is not k) or ARMOR_NOT_FINITE (an entry
// that is NaN or not within -1e18 to 1e18; the message contains its row and column). It adds nothing if it fails.
uint32_t armor_accumulator_add(struct armor_accumulator *accumulator,
                               const struct armor_matrix *activations);

// Adds the tokens of another accumulator, which does not change.
//
// The call fails with ARMOR_INVALID_SHAPE if the accumulators differ in their kind or their number of inputs, and with
// ARMOR_OVERLAP if both arguments are the same accumulator.
uint32_t armor_accumulator_merge(struct armor_accumulator *accumulator,
                                 const struct armor_accumulator *other);

// Writes the number of tokens that were added so far to out.
uint32_t armor_accumulator_tokens(const struct armor_accumulator *accumulator, uint64_t *out);

// Copies the Hessian, the mean over all tokens so far, to buffer, which has space for capacity elements: k elements for
// the diagonal; k x k elements, row-major and symmetric, for the full Hessian. You may add more tokens afterwards.
//
// needed may be NULL; otherwise the number of elements is written there, also on ARMOR_BUFFER_TOO_SMALL, when nothing else
// is written. To ask for the number only, pass NULL and 0 for buffer and capacity. The call fails with
// ARMOR_INVALID_SHAPE if no tokens were added, and with ARMOR_NOT_FINITE if sums that were read from bytes are outside the
// range of float.
uint32_t armor_accumulator_copy(const struct armor_accumulator *accumulator,
                                float *buffer,
                                size_t capacity,
                                size_t *needed);

// Writes an accumulator as the bytes of a safetensors file to buffer, which has space for capacity bytes. name is the name
// of the weight without ".weight", in UTF-8. docs/c-api.md lists the tensors. Equal accumulators give equal bytes.
//
// needed may be NULL; otherwise the number of bytes is written there, also on ARMOR_BUFFER_TOO_SMALL, when nothing else
// is written. To ask for the number only, pass NULL and 0 for buffer and capacity. The call fails with
// ARMOR_INVALID_TEXT if name is not UTF-8.
uint32_t armor_accumulator_serialize(const struct armor_accumulator *accumulator,
                                     const char *name,
                                     uint8_t *buffer,
                                     size_t capacity,
                                     size_t *needed);

// Reads the accumulator of the weight name from the len bytes of a safetensors file, and writes its handle to out. Free
// the handle with armor_accumulator_free. The bytes need no alignment, and the library reads them only during the call.
//
// The call fails with ARMOR_INVALID_BYTES, and a message that contains the key, if the file is cut off, if it has another
// armor.format than the library reads, if its header does not match its data, if the tensor is missing, or if no activations can have these sums.
uint32_t armor_accumulator_deserialize(const uint8_t *bytes,
                                       size_t len,
                                       const char *name,
                                       struct armor_accumulator **out);

// Creates an accumulator of pairs for a layer with this number of inputs (k), without tokens, and writes its handle to
// out. It needs memory for about 2 x k x k doubles.
//
// The call fails with ARMOR_INVALID_SHAPE for 0 inputs, or with ARMOR_SIZE_OVERFLOW.
uint32_t armor_pair_accumulator_create(size_t inputs,
                                       struct armor_pair_accumulator **out);

// Frees an accumulator of pairs; NULL is allowed. No other call may use the accumulator at this time.
uint32_t armor_pair_accumulator_free(struct armor_pair_accumulator *accumulator);

// Adds the inputs of some tokens in the dense model and in the compressed model: two matrices with one row of k columns per
// token, whose rows belong together. Their dtypes may differ. The library reads them in place, and only during the call.
// Calls with some hundred rows are the fastest. The call uses the thread pool of the process.
//
// The call fails with ARMOR_NULL_POINTER, ARMOR_MISALIGNED, ARMOR_SIZE_OVERFLOW, ARMOR_UNKNOWN_DTYPE, ARMOR_INVALID_SHAPE
// (no rows, not the same number of rows, a row stride below the number of columns, or a number of columns that is not k)
// or ARMOR_NOT_FINITE (an entry that is NaN or not within -5e17 to 5e17; the message contains its row and column). It adds
// nothing if it fails.
uint32_t armor_pair_accumulator_add(struct armor_pair_accumulator *accumulator,
                                    const struct armor_matrix *dense,
                                    const struct armor_matrix *compressed);

// Adds the tokens of another accumulator of pairs, which does not change.
//
// The call fails with ARMOR_INVALID_SHAPE if the accumulators differ in their number of inputs, and with ARMOR_OVERLAP if
// both arguments are the same accumulator.
uint32_t armor_pair_accumulator_merge(struct armor_pair_accumulator *accumulator,
                                      const struct armor_pair_accumulator *other);

// Writes the number of tokens that were added so far to out.
uint32_t armor_pair_accumulator_tokens(const struct armor_pair_accumulator *accumulator, uint64_t *out);

// Copies the Hessian of the inputs in the compressed model, the mean of y * y^T over all tokens so far, to buffer, which
// has space for capacity elements: k x k elements, row-major and symmetric. It can be the data of an armor_hessian with
// ARMOR_HESSIAN_FULL, under which the corrected weight is factorised.
//
// needed may be NULL; otherwise the number of elements is written there, also on ARMOR_BUFFER_TOO_SMALL, when nothing else
// is written. To ask for the number only, pass NULL and 0 for buffer and capacity. The call fails with
// ARMOR_INVALID_SHAPE if no tokens were added, and with ARMOR_NOT_FINITE or ARMOR_NEGATIVE if no inputs can have sums that
// were read from bytes.
uint32_t armor_pair_accumulator_copy_hessian(const struct armor_pair_accumulator *accumulator,
                                             float *buffer,
                                             size_t capacity,
                                             size_t *needed);

// Computes the weight W + strength * W * D * (H + ridge * h * I)^-1, which makes up for the difference between x and y, and
// writes it to buffer, which has space for capacity elements: m x k elements, row-major. weight is the W of the dense
// layer, H is the mean of y * y^T, D is the mean of (x - y) * y^T, and h is the mean of the diagonal of H. With strength 1
// and a small ridge, the result is the weight with the lowest mean of |W * x - V * y|^2. Factorise it in the place of W,
// under the Hessian of armor_pair_accumulator_copy_hessian.
//
// strength is 0 to 1; a lower one damps the correction, which is fitted to the tokens of the accumulator. ridge is 0 to
// 1e6; 0.01 is a good start. If H with this ridge cannot be factorised safely, the ridge grows tenfold until it can, and
// out->ridge contains the one that was used. The columns of inputs that are zero on every token in the compressed model
// do not change. The result has the same bits for any number of threads.
//
// out may be NULL; otherwise set out->struct_size before the call, which writes a report there. needed may be NULL;
// otherwise the number of elements is written there, also on ARMOR_BUFFER_TOO_SMALL, when nothing else is written. To ask
// for the number only, pass NULL and 0 for buffer and capacity. The call uses the thread pool of the process. It fails like
// armor_factorize for a wrong weight; with ARMOR_INVALID_SHAPE if the weight does not have k columns or no tokens were
// added; with ARMOR_OPTION_OUT_OF_RANGE for a wrong strength or ridge; with ARMOR_STRUCT_SIZE; with ARMOR_UNREPRESENTABLE
// if an entry of the result is outside the range of float; and with ARMOR_NOT_FINITE or ARMOR_NEGATIVE if no inputs can
// have sums that were read from bytes.
uint32_t armor_pair_accumulator_correct(const struct armor_pair_accumulator *accumulator,
                                        const struct armor_matrix *weight,
                                        double strength,
                                        double ridge,
                                        float *buffer,
                                        size_t capacity,
                                        size_t *needed,
                                        struct armor_correction *out);

// Writes the mean of |W * x - V * y|^2 divided by the mean of |W * x|^2 to out: how far the outputs of a compressed layer
// are from those of the dense layer. weight is the W of the dense layer, and compressed is the V that replaces it, m x k
// each; V is rounded to float. The computation is in double precision. The accumulator need not have the tokens that V was
// fitted to: other tokens show how good V is for data that it has not seen.
//
// The result is infinite if W * x is zero for all tokens but V * y is not. The call uses the thread pool of the process. It
// fails like armor_factorize for a wrong matrix; and with ARMOR_INVALID_SHAPE if the matrices differ in their shape or do
// not have k columns, or no tokens were added.
uint32_t armor_pair_accumulator_output_error(const struct armor_pair_accumulator *accumulator,
                                             const struct armor_matrix *weight,
                                             const struct armor_matrix *compressed,
                                             double *out);

// Writes an accumulator of pairs as the bytes of a safetensors file to buffer, which has space for capacity bytes. name is
// the name of the weight without ".weight", in UTF-8. docs/c-api.md lists the tensors. Equal accumulators give equal
// bytes.
//
// needed may be NULL; otherwise the number of bytes is written there, also on ARMOR_BUFFER_TOO_SMALL, when nothing else
// is written. To ask for the number only, pass NULL and 0 for buffer and capacity. The call fails with
// ARMOR_INVALID_TEXT if name is not UTF-8.
uint32_t armor_pair_accumulator_serialize(const struct armor_pair_accumulator *accumulator,
                                          const char *name,
                                          uint8_t *buffer,
                                          size_t capacity,
                                          size_t *needed);

// Reads the accumulator of pairs of the weight name from the len bytes of a safetensors file, and writes its handle to out.
// Free the handle with armor_pair_accumulator_free. The bytes need no alignment, and the library reads them only during
// the call.
//
// The call fails with ARMOR_INVALID_BYTES, and a message that contains the key, if the file is cut off, if it has another
// armor.format than the library reads, if its header does not match its data, if the tensor is missing, or if no
// activations can have these sums.
uint32_t armor_pair_accumulator_deserialize(const uint8_t *bytes,
                                            size_t len,
                                            const char *name,
                                            struct armor_pair_accumulator **out);

// Packs a factorisation for fast products and writes the handle to out; free it with armor_packed_free. The
// factorisation may be freed at once.
//
// The numbers of each factor are rounded to its dtype, ARMOR_DTYPE_F32, _F16 or _BF16: left_dtype for the left wrapper,
// core_dtype for the core's kept values, right_dtype for the right wrapper. Most callers pass the same dtype three
// times.
//
// threads is the number of threads that products run on: 0 for the pool of the process, 1 for the calling thread alone,
// more for a pool that belongs to this handle, at most 1024. Results do not depend on it. Fails with
// ARMOR_UNKNOWN_DTYPE, ARMOR_UNREPRESENTABLE (a number beyond the range of its dtype), ARMOR_OPTION_OUT_OF_RANGE and
// ARMOR_THREADS.
uint32_t armor_packed_create(const struct armor_factorization *factorization,
                             uint32_t left_dtype,
                             uint32_t core_dtype,
                             uint32_t right_dtype,
                             size_t threads,
                             struct armor_packed **out);

// Frees a packed factorisation; NULL is allowed. No other call may be using the handle.
uint32_t armor_packed_free(struct armor_packed *packed);

// Unpacks a factorisation, and writes its handle to out; free it with armor_factorization_free. It is the one that was
// packed, with the numbers of each factor rounded to its dtype, and with 0 as the time of its report. The packed
// factorisation does not change. Fails with ARMOR_THREADS.
uint32_t armor_packed_unpack(const struct armor_packed *packed,
                             struct armor_factorization **out);

// Writes shapes, bytes and dtypes of a packed factorisation to out, whose struct_size the caller has set.
uint32_t armor_packed_get_sizes(const struct armor_packed *packed, struct armor_packed_sizes *out);

// Writes to out the number of floats that a product with batch vectors needs as scratch. From 64 vectors on it stays the
// same.
uint32_t armor_packed_scratch_len(const struct armor_packed *packed,
                                  size_t batch,
                                  size_t *out);

// Computes y = A * (S * (B * x)) for one input x of x_len = k elements; writes m elements to y, which holds capacity
// elements.
//
// scratch is working memory of scratch_len elements, at least as many as armor_packed_scratch_len gives for 1; with NULL
// and scratch_len 0 the call allocates it. No two of x, y and scratch may overlap, and calls at the same time must not
// share scratch. Sums are float. An x with NaN or infinities gives what the dense matrix would; each infinity costs one
// more product. Fails with ARMOR_INVALID_SHAPE for an x of another length, ARMOR_BUFFER_TOO_SMALL for y or scratch,
// ARMOR_THREADS; y is then unchanged.
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
// (batch - 1) * y_row_stride + m. scratch is as in armor_packed_apply, for batch. The result for a vector has the same
// bits as if it were multiplied alone. A batch of 0 is refused. Fails with ARMOR_INVALID_SHAPE, ARMOR_UNKNOWN_DTYPE, ARMOR_BUFFER_TOO_SMALL
// and ARMOR_THREADS; y is then unchanged.
uint32_t armor_packed_apply_batch(const struct armor_packed *packed,
                                  const struct armor_matrix *x,
                                  float *y,
                                  size_t y_row_stride,
                                  size_t capacity,
                                  float *scratch,
                                  size_t scratch_len);

// Opens a job, and writes its handle to out. Free the handle with armor_job_free. settings points to len bytes of JSON in
// UTF-8, without a NUL byte at the end; docs/checkpoints.md lists the keys. The call reads and checks the headers of all
// files. It also checks all tensors and all finished layers, unless "check_values" is false. It writes no files.
//
// Only a library with the feature `checkpoint` has this function; see armor_job. The call fails with ARMOR_INVALID_TEXT,
// ARMOR_INVALID_SETTINGS, ARMOR_OPTION_OUT_OF_RANGE, ARMOR_FILE, ARMOR_INVALID_CHECKPOINT (the message contains the file
// and the tensor), ARMOR_NOT_FINITE, ARMOR_NEGATIVE, ARMOR_ASYMMETRIC, ARMOR_OTHER_JOB or ARMOR_THREADS.
uint32_t armor_job_create(const uint8_t *settings,
                          size_t len,
                          struct armor_job **out);

// Frees a job; NULL is allowed. The finished layers stay on disk. No other call may use the job at this time. Only a
// library with the feature `checkpoint` has this function; see armor_job.
uint32_t armor_job_free(struct armor_job *job);

// Writes the number of layers to out. The layers have indices from 0, in the order of their names; numbers in names are
// ordered by value. Only a library with the feature `checkpoint` has this function; see armor_job.
uint32_t armor_job_layer_count(const struct armor_job *job,
                               size_t *out);

// Copies the name of a layer's weight, with a NUL byte at its end, to buffer, which has space for capacity bytes. needed
// may be NULL; otherwise the number of bytes, including the NUL byte, is written there, also on ARMOR_BUFFER_TOO_SMALL. To
// ask for the number only, pass NULL and 0 for buffer and capacity. The call fails with ARMOR_NO_SUCH_LAYER for an index
// that is not below armor_job_layer_count. Only a library with the feature `checkpoint` has this function; see armor_job.
uint32_t armor_job_layer_name(const struct armor_job *job,
                              size_t index,
                              char *buffer,
                              size_t capacity,
                              size_t *needed);

// Writes 1 to out if any process has finished the layer, and 0 otherwise. The call fails with ARMOR_NO_SUCH_LAYER as
// armor_job_layer_name does. Only a library with the feature `checkpoint` has this function; see armor_job.
uint32_t armor_job_layer_done(const struct armor_job *job,
                              size_t index,
                              uint32_t *out);

// Compresses a layer, and stores the result in the folder of the job. The call does nothing if the layer is finished.
// progress may be NULL. The library passes user to progress unchanged. If progress cancels the layer, nothing is stored,
// and the call fails with ARMOR_CANCELLED.
//
// Only a library with the feature `checkpoint` has this function; see armor_job. The call fails with ARMOR_FILE if the
// result cannot be written, with ARMOR_UNREPRESENTABLE if a value is outside the range of the job's dtype (the layer is
// stored, and a job with another dtype can use it), with ARMOR_OTHER_JOB if an input has changed or the folder of the job
// was removed, with ARMOR_NO_SUCH_LAYER, with ARMOR_MEMORY_LIMIT, with ARMOR_THREADS, with ARMOR_INVALID_SETTINGS if the
// settings of the job have no "hessians" (armor_job_run_layer_on_hessian and armor_job_run_layer_on_pairs run its layers),
// and like armor_job_create for wrong contents of files.
uint32_t armor_job_run_layer(const struct armor_job *job,
                             size_t index,
                             armor_progress_fn progress,
                             void *user);

// Writes the compressed checkpoint after all layers are finished. The call does nothing if the checkpoint was written
// before. If several processes make this call, one of them writes and the others wait.
//
// Only a library with the feature `checkpoint` has this function; see armor_job. The call fails with ARMOR_JOB_UNFINISHED,
// ARMOR_FILE, ARMOR_UNREPRESENTABLE, or with ARMOR_OTHER_JOB if an input has changed or another process has finished the
// job in another format or dtype.
uint32_t armor_job_finish(const struct armor_job *job);

// Copies the plan of a job, JSON in UTF-8, to buffer: the files that are read and those that are not, every layer with its
// shape, number types and calibration tokens, the tensors that are copied with the reasons, the Hessians that match no
// weight, and the warnings. docs/checkpoints.md describes the decisions. buffer, capacity and needed have the same meaning
// as in armor_job_layer_name. Only a library with the feature `checkpoint` has this function; see armor_job.
uint32_t armor_job_plan(const struct armor_job *job,
                        char *buffer,
                        size_t capacity,
                        size_t *needed);

// Copies the report of a finished job, the text of report.json, to buffer. buffer, capacity and needed have the same
// meaning as in armor_job_layer_name. The call fails with ARMOR_JOB_UNFINISHED before armor_job_finish. Only a library with
// the feature `checkpoint` has this function; see armor_job.
uint32_t armor_job_report(const struct armor_job *job,
                          char *buffer,
                          size_t capacity,
                          size_t *needed);

// Writes the shape of a layer to rows, the output features (m), and to cols, the input features (k). This is the shape of
// the matrix of outputs x inputs, also where the checkpoint stores it as inputs x outputs. The call fails with
// ARMOR_NO_SUCH_LAYER as armor_job_layer_name does. Only a library with the feature `checkpoint` has this function; see
// armor_job.
uint32_t armor_job_layer_shape(const struct armor_job *job,
                               size_t index,
                               size_t *rows,
                               size_t *cols);

// Does the same as armor_job_run_layer in a job without "hessians" in its settings: compresses a layer under the Hessian
// of its k inputs, which the caller passes. tokens is the number of tokens that the Hessian is the mean of, for the
// report. With the full objective, the Hessian must be ARMOR_HESSIAN_FULL. The result is measured as it is stored, in the
// format and the dtype of the job. The call does nothing if the layer is finished.
//
// Only a library with the feature `checkpoint` has this function; see armor_job. The call fails like armor_job_run_layer,
// except that nothing is stored on ARMOR_UNREPRESENTABLE. It also fails with ARMOR_INVALID_SETTINGS if the job reads
// Hessians from files, and like armor_factorize for a wrong Hessian.
uint32_t armor_job_run_layer_on_hessian(const struct armor_job *job,
                                        size_t index,
                                        const struct armor_hessian *hessian,
                                        uint64_t tokens,
                                        armor_progress_fn progress,
                                        void *user);

// Does the same as armor_job_run_layer_on_hessian with pairs of the layer's inputs in the dense model and in the compressed
// one. The library computes the weight that makes up for their difference, as armor_pair_accumulator_correct does, with
// the settings "correction" and "correction_ridge" of the job, and compresses it under the Hessian of the inputs in the
// compressed model. The accumulator does not change. Other calls may use it while the layer runs.
//
// Only a library with the feature `checkpoint` has this function; see armor_job. The call fails like
// armor_job_run_layer_on_hessian, and with ARMOR_INVALID_SHAPE if the accumulator has no tokens or another number of inputs
// than the layer.
uint32_t armor_job_run_layer_on_pairs(const struct armor_job *job,
                                      size_t index,
                                      const struct armor_pair_accumulator *accumulator,
                                      armor_progress_fn progress,
                                      void *user);

// Copies the weight that a finished layer has from now on to buffer, which has space for capacity elements: the product
// A * S * B of the factors as they are stored, rounded to their dtype. It has m x k elements, row-major, outputs x inputs,
// also where the checkpoint stores the weight as inputs x outputs. Any process may have finished the layer. After
// armor_job_finish, the call reads the output, which it can in the formats factors and reconstructed.
//
// needed may be NULL; otherwise the number of elements is written there, also on ARMOR_BUFFER_TOO_SMALL, when nothing else
// is written. To ask for the number only, pass NULL and 0 for buffer and capacity. Only a library with the feature
// `checkpoint` has this function; see armor_job. The call fails with ARMOR_JOB_UNFINISHED if the layer is not finished,
// with ARMOR_NO_SUCH_LAYER, with ARMOR_FILE, with ARMOR_UNREPRESENTABLE if a value is outside the range of the dtype, or
// with ARMOR_INVALID_CHECKPOINT if the output is damaged or in another format.
uint32_t armor_job_layer_weight(const struct armor_job *job,
                                size_t index,
                                float *buffer,
                                size_t capacity,
                                size_t *needed);

// Writes a handle of the factors of a finished layer to out; free it with armor_factorization_free. They are the factors
// in float as they were computed. After armor_job_finish, the call reads the output, which it can in the format factors.
//
// Only a library with the feature `checkpoint` has this function; see armor_job. The call fails like
// armor_job_layer_weight.
uint32_t armor_job_layer_factorization(const struct armor_job *job,
                                       size_t index,
                                       struct armor_factorization **out);

// Puts other factors in the place of those of a finished layer, for a program that trains them further. They must have the
// shape, the pattern and the block sizes of the layer. The losses in the report are those of the factorisation, and if
// the caller calibrates the job, the report marks the layer as replaced. The factorisation does not change.
//
// Only a library with the feature `checkpoint` has this function; see armor_job. The call fails with
// ARMOR_JOB_UNFINISHED if the layer is not finished or the whole job is, with ARMOR_NO_SUCH_LAYER, ARMOR_INVALID_SHAPE,
// ARMOR_OPTION_OUT_OF_RANGE (another pattern or block size), ARMOR_UNREPRESENTABLE if a value is outside the range of the
// dtype, or ARMOR_FILE. The layer then keeps its factors.
uint32_t armor_job_replace_layer(const struct armor_job *job,
                                 size_t index,
                                 const struct armor_factorization *factorization);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* ARMOR_H */
