//! The library as a C program reaches it.

use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr;

use armor_core::ffi::*;
use armor_core::{Method, Objective, Precision, RowWeighting, Weight};
use ndarray::{Array2, Array3, ArrayViewMut2};

use crate::setup::{Owned, assert_ok, last_message, new_options, own};
use crate::suite::library::{Change, Input, Kind, Library, Moment, Parts, Preset, Refusal, Seen};

pub struct Exports;

/// Converts a status to a result, with the message of this thread.
fn checked(status: u32) -> Result<(), Refusal> {
    let kind = match status {
        ARMOR_OK => return Ok(()),
        ARMOR_INVALID_SHAPE => Kind::Shape,
        ARMOR_NOT_FINITE => Kind::NotFinite,
        ARMOR_NEGATIVE => Kind::Negative,
        ARMOR_OPTION_OUT_OF_RANGE => Kind::Option,
        ARMOR_INVALID_BYTES => Kind::Bytes,
        ARMOR_ASYMMETRIC => Kind::Asymmetric,
        ARMOR_HESSIAN_NOT_FULL => Kind::NotFull,
        ARMOR_MEMORY_LIMIT => Kind::MemoryLimit,
        _ => Kind::Other,
    };
    Err(Refusal { kind, message: last_message() })
}

/// Views a matrix whose entries of a row are neighbours.
pub fn matrix(weight: &Weight<'_>) -> MatrixView {
    macro_rules! view {
        ($view:ident, $dtype:ident) => {{
            assert!($view.ncols() < 2 || $view.strides()[1] == 1, "the entries of a row are neighbours");
            let row_stride = if $view.nrows() < 2 { $view.ncols() } else { $view.strides()[0] as usize };
            let (rows, cols) = $view.dim();
            MatrixView { data: $view.as_ptr().cast(), rows, cols, row_stride, dtype: $dtype }
        }};
    }
    match weight {
        Weight::F32(view) => view!(view, ARMOR_DTYPE_F32),
        Weight::F64(view) => view!(view, ARMOR_DTYPE_F64),
        Weight::F16(view) => view!(view, ARMOR_DTYPE_F16),
        Weight::Bf16(view) => view!(view, ARMOR_DTYPE_BF16),
        other => unreachable!("{other:?} is of a type that no property uses"),
    }
}

pub fn hessian(moment: &Moment<'_>) -> HessianView {
    match moment {
        Moment::Identity(len) => {
            HessianView { data: ptr::null(), len: *len, row_stride: 0, kind: ARMOR_HESSIAN_IDENTITY, dtype: 0 }
        }
        Moment::Diagonal(row) => {
            let MatrixView { data, cols: len, dtype, .. } = matrix(row);
            HessianView { data, len, row_stride: 0, kind: ARMOR_HESSIAN_DIAGONAL, dtype }
        }
        Moment::Full(full) => {
            let MatrixView { data, cols: len, row_stride, dtype, .. } = matrix(full);
            HessianView { data, len, row_stride, kind: ARMOR_HESSIAN_FULL, dtype }
        }
    }
}

/// Copies an array of a length that only the library knows.
fn copied<T: Clone + Default>(copy: impl Fn(*mut T, usize, *mut usize) -> u32) -> Result<Vec<T>, Refusal> {
    let mut needed = 0;
    let status = copy(ptr::null_mut(), 0, &mut needed);
    if status != ARMOR_BUFFER_TOO_SMALL {
        return Err(checked(status).expect_err("an array has elements"));
    }
    let mut values = vec![T::default(); needed];
    checked(copy(values.as_mut_ptr(), needed, ptr::null_mut()))?;
    Ok(values)
}

/// What an observer's user pointer points to.
struct Watch<'a> {
    observer: &'a mut (dyn FnMut(Seen) -> bool + Send),
}

unsafe extern "C" fn watch(progress: *const RunProgress, user: *mut c_void) -> c_int {
    // SAFETY: `observe` hands a `Watch` of its own to the run that calls this.
    let (progress, watch) = unsafe { (*progress, &mut *user.cast::<Watch<'_>>()) };
    let goes_on = (watch.observer)(Seen {
        iteration: progress.iteration,
        iterations: progress.iterations,
        loss: progress.loss,
        best_loss: progress.best_loss,
        seconds: progress.seconds,
        annealing: match progress.phase {
            ARMOR_PHASE_ANNEALING => true,
            ARMOR_PHASE_DESCENDING => false,
            other => panic!("{other} is no phase"),
        },
    });
    // Any number but zero cancels.
    if goes_on { 0 } else { -7 }
}

fn run(
    input: &Input<'_>,
    options: &Owned<OptionsHandle>,
    (progress, user): (ProgressFn, *mut c_void),
) -> Result<Owned<FactorizationHandle>, Refusal> {
    let (weight, hessian, mut out) = (matrix(&input.weight), hessian(&input.hessian), ptr::null_mut());
    // SAFETY: all memory lives through the call.
    checked(unsafe { armor_factorize(&weight, &hessian, options.pointer, progress, user, &mut out) })?;
    Ok(own(out))
}

pub fn report(factorization: &Owned<FactorizationHandle>) -> RunReport {
    // SAFETY: numbers, for which zero is a value.
    let mut report: RunReport = unsafe { std::mem::zeroed() };
    report.struct_size = size_of::<RunReport>();
    // SAFETY: the handle is alive and the report a local.
    assert_ok(unsafe { armor_factorization_get_report(factorization.pointer, &mut report) });
    report
}

pub fn sizes(factorization: &Owned<FactorizationHandle>) -> FactorizationSizes {
    // SAFETY: numbers, for which zero is a value.
    let mut sizes: FactorizationSizes = unsafe { std::mem::zeroed() };
    sizes.struct_size = size_of::<FactorizationSizes>();
    // SAFETY: the handle is alive and the struct a local.
    assert_ok(unsafe { armor_factorization_get_sizes(factorization.pointer, &mut sizes) });
    sizes
}

impl Library for Exports {
    type Options = Owned<OptionsHandle>;
    type Factorization = Owned<FactorizationHandle>;
    type Accumulator = Owned<AccumulatorHandle>;
    type Packed = Owned<PackedHandle>;

    fn options(preset: Preset) -> Owned<OptionsHandle> {
        new_options(match preset {
            Preset::Exact => ARMOR_PRESET_EXACT,
            Preset::Paper => ARMOR_PRESET_PAPER,
        })
    }

    fn change(options: &mut Owned<OptionsHandle>, change: Change) -> Result<(), Refusal> {
        let handle = options.pointer;
        // SAFETY: the handle is alive.
        checked(unsafe {
            match change {
                Change::Method(method) => armor_options_set_method(
                    handle,
                    match method {
                        Method::Exact => ARMOR_METHOD_EXACT,
                        Method::Paper => ARMOR_METHOD_PAPER,
                        Method::Gradient => ARMOR_METHOD_GRADIENT,
                        other => unreachable!("{other:?} is a method that no property uses"),
                    },
                ),
                Change::Objective(objective) => armor_options_set_objective(
                    handle,
                    match objective {
                        Objective::Diagonal => ARMOR_OBJECTIVE_DIAGONAL,
                        Objective::Full => ARMOR_OBJECTIVE_FULL,
                        other => unreachable!("{other:?} is an objective that no property uses"),
                    },
                ),
                Change::RowWeighting(weighting) => armor_options_set_row_weighting(
                    handle,
                    match weighting {
                        RowWeighting::NoWag => ARMOR_ROWS_NOWAG,
                        RowWeighting::Uniform => ARMOR_ROWS_UNIFORM,
                        other => unreachable!("{other:?} is a weighting that no property uses"),
                    },
                ),
                Change::Shrinkage(alpha) => armor_options_set_shrinkage(handle, alpha),
                Change::MemoryLimit(bytes) => armor_options_set_memory_limit(handle, bytes),
                Change::LeftBlock(rows) => armor_options_set_left_block(handle, rows),
                Change::RightBlock(cols) => armor_options_set_right_block(handle, cols),
                Change::Pattern(n, m) => armor_options_set_pattern(handle, n, m),
                Change::Iterations(iterations) => armor_options_set_iterations(handle, iterations),
                Change::TimeBudget(seconds) => armor_options_set_time_budget(handle, seconds),
                Change::Tolerance(tolerance) => armor_options_set_tolerance(handle, tolerance),
                Change::Patience(iterations) => armor_options_set_patience(handle, iterations),
                Change::Temperature(tau) => armor_options_set_temperature(handle, tau),
                Change::MaxExtrapolation(beta) => armor_options_set_max_extrapolation(handle, beta),
                Change::LearningRate(rate) => armor_options_set_learning_rate(handle, rate),
                Change::Seed(seed) => armor_options_set_seed(handle, seed),
                Change::Threads(threads) => armor_options_set_threads(handle, threads),
            }
        })
    }

    fn observe(
        input: &Input<'_>,
        options: &Owned<OptionsHandle>,
        observer: &mut (dyn FnMut(Seen) -> bool + Send),
    ) -> Result<Owned<FactorizationHandle>, Refusal> {
        let mut user = Watch { observer };
        run(input, options, (Some(watch), (&raw mut user).cast()))
    }

    fn factorize(input: &Input<'_>, options: &Owned<OptionsHandle>) -> Result<Owned<FactorizationHandle>, Refusal> {
        run(input, options, (None, ptr::null_mut()))
    }

    fn parts(factorization: &Owned<FactorizationHandle>) -> Parts {
        let (handle, s, report) = (factorization.pointer, sizes(factorization), report(factorization));
        macro_rules! copy {
            ($function:ident) => {
                // SAFETY: the handle is alive, and the buffers are as long as they say.
                copied(|buffer, capacity, needed| unsafe { $function(handle, buffer, capacity, needed) }).expect("fits")
            };
        }
        let blocks = |count, size, values| Array3::from_shape_vec((count, size, size), values).expect("square blocks");
        let dense = |values| Array2::from_shape_vec((s.rows, s.cols), values).expect("m × k");
        let kept = s.cols / s.pattern_m * s.pattern_n;
        // SAFETY: the name lives as long as the library.
        let stop_reason = unsafe { CStr::from_ptr(armor_stop_reason_name(report.stop_reason)) };
        Parts {
            pattern: (s.pattern_n, s.pattern_m),
            left: blocks(s.left_blocks, s.left_block, copy!(armor_factorization_copy_left)),
            right: blocks(s.right_blocks, s.right_block, copy!(armor_factorization_copy_right)),
            core: dense(copy!(armor_factorization_copy_core_dense)),
            values: Array2::from_shape_vec((s.rows, kept), copy!(armor_factorization_copy_core_values)).expect("kept"),
            bitmask: Array2::from_shape_vec((s.rows, s.cols.div_ceil(8)), copy!(armor_factorization_copy_core_bitmask))
                .expect("bits"),
            product: dense(copy!(armor_factorization_reconstruct)),
            history: copy!(armor_factorization_copy_history),
            losses: [report.loss, report.nowag_p_loss],
            ridge: report.ridge,
            dead_inputs: report.dead_inputs.try_into().expect("no more than the layer has"),
            overhead: report.overhead,
            iterations: report.iterations,
            stop_reason: stop_reason.to_str().expect("ASCII").to_owned(),
            stored_bytes: [report.stored_bytes_f32, report.stored_bytes_f16],
        }
    }

    fn seconds(factorization: &Owned<FactorizationHandle>) -> f64 {
        report(factorization).seconds
    }

    fn apply(factorization: &Owned<FactorizationHandle>, x: &[f32]) -> Result<Vec<f32>, Refusal> {
        let mut y = vec![f32::MAX; sizes(factorization).rows];
        let (handle, y_pointer) = (factorization.pointer, y.as_mut_ptr());
        // SAFETY: the handle is alive, and the buffers are as long as they say.
        checked(unsafe {
            armor_factorization_apply(handle, x.as_ptr(), x.len(), y_pointer, y.len(), ptr::null_mut())
        })?;
        Ok(y)
    }

    fn output_error(factorization: &Owned<FactorizationHandle>, input: &Input<'_>) -> Result<f64, Refusal> {
        let (weight, hessian, mut error) = (matrix(&input.weight), hessian(&input.hessian), f64::NAN);
        // SAFETY: the handle is alive and the rest are locals.
        checked(unsafe { armor_factorization_output_error(factorization.pointer, &weight, &hessian, &mut error) })?;
        Ok(error)
    }

    fn to_bytes(factorization: &Owned<FactorizationHandle>, name: &str) -> Vec<u8> {
        let (handle, name) = (factorization.pointer, CString::new(name).expect("no NUL"));
        // SAFETY: the handle is alive, and the buffers are as long as they say.
        copied(|buffer, capacity, needed| unsafe {
            armor_factorization_serialize(handle, name.as_ptr(), buffer, capacity, needed)
        })
        .expect("fits")
    }

    fn from_bytes(bytes: &[u8], name: &str) -> Result<Owned<FactorizationHandle>, Refusal> {
        let (name, mut out) = (CString::new(name).expect("no NUL"), ptr::null_mut());
        // SAFETY: the bytes are as many as they say.
        checked(unsafe { armor_factorization_deserialize(bytes.as_ptr(), bytes.len(), name.as_ptr(), &mut out) })?;
        Ok(own(out))
    }

    fn accumulator(inputs: usize, full: bool) -> Owned<AccumulatorHandle> {
        let (kind, mut out) = (if full { ARMOR_HESSIAN_FULL } else { ARMOR_HESSIAN_DIAGONAL }, ptr::null_mut());
        // SAFETY: out is a local.
        assert_ok(unsafe { armor_accumulator_create(inputs, kind, &mut out) });
        Owned::new(out, armor_accumulator_free)
    }

    fn add(accumulator: &mut Owned<AccumulatorHandle>, activations: Weight<'_>) -> Result<(), Refusal> {
        // SAFETY: the handle is alive, and the view is that of a matrix.
        checked(unsafe { armor_accumulator_add(accumulator.pointer, &matrix(&activations)) })
    }

    fn merge(accumulator: &mut Owned<AccumulatorHandle>, other: &Owned<AccumulatorHandle>) -> Result<(), Refusal> {
        // SAFETY: both handles are alive.
        checked(unsafe { armor_accumulator_merge(accumulator.pointer, other.pointer) })
    }

    fn tokens(accumulator: &Owned<AccumulatorHandle>) -> u64 {
        let mut tokens = u64::MAX;
        // SAFETY: the handle is alive and out a local.
        assert_ok(unsafe { armor_accumulator_tokens(accumulator.pointer, &mut tokens) });
        tokens
    }

    fn mean(accumulator: &Owned<AccumulatorHandle>) -> Result<Vec<f32>, Refusal> {
        let handle = accumulator.pointer;
        // SAFETY: the handle is alive, and the buffers are as long as they say.
        copied(|buffer, capacity, needed| unsafe { armor_accumulator_copy(handle, buffer, capacity, needed) })
    }

    fn accumulator_to_bytes(accumulator: &Owned<AccumulatorHandle>, name: &str) -> Vec<u8> {
        let (handle, name) = (accumulator.pointer, CString::new(name).expect("no NUL"));
        // SAFETY: the handle is alive, and the buffers are as long as they say.
        copied(|buffer, capacity, needed| unsafe {
            armor_accumulator_serialize(handle, name.as_ptr(), buffer, capacity, needed)
        })
        .expect("fits")
    }

    fn accumulator_from_bytes(bytes: &[u8], name: &str) -> Result<Owned<AccumulatorHandle>, Refusal> {
        let (name, mut out) = (CString::new(name).expect("no NUL"), ptr::null_mut());
        // SAFETY: the bytes are as many as they say.
        checked(unsafe { armor_accumulator_deserialize(bytes.as_ptr(), bytes.len(), name.as_ptr(), &mut out) })?;
        Ok(Owned::new(out, armor_accumulator_free))
    }

    fn pack(factorization: &Owned<FactorizationHandle>, precision: Precision, threads: usize) -> Owned<PackedHandle> {
        let dtype = match precision {
            Precision::F32 => ARMOR_DTYPE_F32,
            Precision::F16 => ARMOR_DTYPE_F16,
            Precision::Bf16 => ARMOR_DTYPE_BF16,
            other => unreachable!("{other:?} is a precision that no property uses"),
        };
        let mut out = ptr::null_mut();
        // SAFETY: the handle is alive and out a local.
        assert_ok(unsafe { armor_packed_create(factorization.pointer, dtype, dtype, dtype, threads, &mut out) });
        Owned::new(out, armor_packed_free)
    }

    fn packed_bytes(packed: &Owned<PackedHandle>) -> [usize; 3] {
        // SAFETY: numbers, for which zero is a value.
        let mut sizes: PackedSizes = unsafe { std::mem::zeroed() };
        sizes.struct_size = size_of::<PackedSizes>();
        // SAFETY: the handle is alive and the struct a local.
        assert_ok(unsafe { armor_packed_get_sizes(packed.pointer, &mut sizes) });
        [sizes.left_bytes, sizes.core_bytes, sizes.right_bytes]
    }

    fn multiply(packed: &Owned<PackedHandle>, x: Weight<'_>, mut y: ArrayViewMut2<'_, f32>) -> Result<(), Refusal> {
        let (rows, cols) = y.dim();
        let row_stride = if rows < 2 { cols } else { y.strides()[0] as usize };
        let capacity = (rows - 1) * row_stride + cols;
        // SAFETY: the handle is alive, and the buffers are as long as they say.
        checked(unsafe {
            let (x, y, none) = (matrix(&x), y.as_mut_ptr(), ptr::null_mut());
            armor_packed_apply_batch(packed.pointer, &x, y, row_stride, capacity, none, 0)
        })
    }
}
