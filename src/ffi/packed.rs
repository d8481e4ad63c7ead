//! Packed factorisations: fast products with vectors and batches.

use std::slice;

use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::factorization::handle::FactorizationHandle;
use super::failure::Failure;
use super::guard::guard;
use super::opaque::{self, Opaque};
use super::pointer::{Growing, Out, Span, input, overflow, write_growing};
use super::status::{ARMOR_BUFFER_TOO_SMALL, ARMOR_INVALID_SHAPE, ARMOR_OPTION_OUT_OF_RANGE, ARMOR_UNKNOWN_DTYPE};
use super::view::{ARMOR_DTYPE_BF16, ARMOR_DTYPE_F16, ARMOR_DTYPE_F32, MatrixView};
use crate::error::Error;
use crate::factors::precision::{FactorPrecision, Precision};
use crate::input::weight::Weight;
use crate::kernels::instructions::InstructionSet;
use crate::kernels::pool;
use crate::packed::PackedFactorization;
use crate::packed::execution::Execution;

/// A factorised layer in the memory order that fast kernels read. It never changes, so any number of threads may use it;
/// armor_packed_free frees it. It does not need the factorisation that it was made from.
#[derive(Debug)]
pub struct PackedHandle {
    _opaque: (),
}

/// The content of a packed handle.
#[derive(Debug)]
pub(super) struct PackedLayer {
    layer: PackedFactorization,
    /// The pool that belongs to this handle, for more than one thread.
    pool: Option<ThreadPool>,
    /// 0 for the pool of the process.
    threads: usize,
}

impl Opaque for PackedHandle {
    type Inner = PackedLayer;
    const TAG: u64 = u64::from_le_bytes(*b"armorPAC");
    const NAME: &'static str = "a packed factorization";
}

/// Shapes of a packed factorisation, its bytes in memory, and its dtypes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PackedSizes {
    /// Set to sizeof(armor_packed_sizes) before the call; afterwards the bytes that were written.
    pub struct_size: usize,
    /// Outputs of the layer, m.
    pub rows: usize,
    /// Inputs of the layer, k.
    pub cols: usize,
    /// Bytes of the left wrapper A.
    pub left_bytes: usize,
    /// Bytes of the core S: values and positions.
    pub core_bytes: usize,
    /// Bytes of the right wrapper B.
    pub right_bytes: usize,
    /// Bytes of all three.
    pub bytes: usize,
    /// The dtype of the left wrapper A, ARMOR_DTYPE_*.
    pub left_dtype: u32,
    /// The dtype of the core's kept values.
    pub core_dtype: u32,
    /// The dtype of the right wrapper B.
    pub right_dtype: u32,
    /// 0; reserved for a later field.
    pub reserved: u32,
}

// SAFETY: repr(C), Copy, plain numbers without padding, struct_size first.
unsafe impl Growing for PackedSizes {
    const FIRST_SIZE: usize = 7 * size_of::<usize>() + 4 * size_of::<u32>();

    fn struct_size_mut(&mut self) -> &mut usize {
        &mut self.struct_size
    }
}

/// Packs a factorisation for fast products and writes the handle to out; free it with armor_packed_free. The
/// factorisation may be freed at once.
///
/// The numbers of each factor are rounded to its dtype, ARMOR_DTYPE_F32, _F16 or _BF16: left_dtype for the left wrapper,
/// core_dtype for the core's kept values, right_dtype for the right wrapper. Most callers pass the same dtype three
/// times.
///
/// threads is the number of threads that products run on: 0 for the pool of the process, 1 for the calling thread alone,
/// more for a pool that belongs to this handle, at most 1024. Results do not depend on it. Fails with
/// ARMOR_UNKNOWN_DTYPE, ARMOR_UNREPRESENTABLE (a number beyond the range of its dtype), ARMOR_OPTION_OUT_OF_RANGE and
/// ARMOR_THREADS.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_packed_create(
    factorization: *const FactorizationHandle,
    left_dtype: u32,
    core_dtype: u32,
    right_dtype: u32,
    threads: usize,
    out: *mut *mut PackedHandle,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (factorization, memory) = unsafe { opaque::borrow("factorization", factorization)? };
        let out = Out::new("out", out)?.apart_from(&[memory])?;
        let precision = FactorPrecision {
            left: precision("left_dtype", left_dtype)?,
            core: precision("core_dtype", core_dtype)?,
            right: precision("right_dtype", right_dtype)?,
        };
        let pool = pool(threads)?;
        let layer = match &pool {
            Some(pool) => pool.install(|| PackedFactorization::pack(factorization, precision, threads)),
            None if threads == 1 => PackedFactorization::pack(factorization, precision, 1),
            None => PackedFactorization::new(factorization, precision),
        };
        let packed = PackedLayer { layer: layer?, pool, threads };
        // SAFETY: the caller keeps the module's contract.
        unsafe { out.write(opaque::create(packed)) };
        Ok(())
    })
}

fn precision(argument: &str, dtype: u32) -> Result<Precision, Failure> {
    match dtype {
        ARMOR_DTYPE_F32 => Ok(Precision::F32),
        ARMOR_DTYPE_F16 => Ok(Precision::F16),
        ARMOR_DTYPE_BF16 => Ok(Precision::Bf16),
        other => {
            let message =
                format!("{argument}: {other} is not a dtype that can be packed, expected 1 (f32), 3 (f16) or 4 (bf16)");
            Err(Failure::new(ARMOR_UNKNOWN_DTYPE, message))
        }
    }
}

fn dtype(precision: Precision) -> u32 {
    match precision {
        Precision::F32 => ARMOR_DTYPE_F32,
        Precision::F16 => ARMOR_DTYPE_F16,
        Precision::Bf16 => ARMOR_DTYPE_BF16,
    }
}

fn pool(threads: usize) -> Result<Option<ThreadPool>, Failure> {
    match threads {
        0 | 1 => Ok(None),
        2..=1024 => {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build();
            pool.map(Some).map_err(|error| Error::Threads { threads, reason: error.to_string() }.into())
        }
        _ => {
            let message = format!("threads: {threads} is out of range, expected 0 to 1024");
            Err(Failure::new(ARMOR_OPTION_OUT_OF_RANGE, message))
        }
    }
}

/// Frees a packed factorisation; NULL is allowed. No other call may be using the handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_packed_free(packed: *mut PackedHandle) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { opaque::free("packed", packed) })
}

/// Unpacks a factorisation, and writes its handle to out; free it with armor_factorization_free. It is the one that was
/// packed, with the numbers of each factor rounded to its dtype, and with 0 as the time of its report. The packed
/// factorisation does not change. Fails with ARMOR_THREADS.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_packed_unpack(packed: *const PackedHandle, out: *mut *mut FactorizationHandle) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (PackedLayer { layer, pool, threads }, memory) = unsafe { opaque::borrow("packed", packed)? };
        let out = Out::new("out", out)?.apart_from(&[memory])?;
        let factorization = match pool {
            Some(pool) => pool.install(|| layer.unpack()),
            None if *threads == 1 => layer.unpack(),
            None => {
                pool::start()?;
                layer.unpack()
            }
        };
        // SAFETY: the caller keeps the module's contract.
        unsafe { out.write(opaque::create(factorization)) };
        Ok(())
    })
}

/// Writes shapes, bytes and dtypes of a packed factorisation to out, whose struct_size the caller has set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_packed_get_sizes(packed: *const PackedHandle, out: *mut PackedSizes) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (PackedLayer { layer, .. }, memory) = unsafe { opaque::borrow("packed", packed)? };
        let out = Out::new("out", out)?.apart_from(&[memory])?;
        let (bytes, precision) = (layer.bytes(), layer.precision());
        let sizes = PackedSizes {
            struct_size: size_of::<PackedSizes>(),
            rows: layer.rows(),
            cols: layer.cols(),
            left_bytes: bytes.left,
            core_bytes: bytes.core,
            right_bytes: bytes.right,
            bytes: bytes.total(),
            left_dtype: dtype(precision.left),
            core_dtype: dtype(precision.core),
            right_dtype: dtype(precision.right),
            reserved: 0,
        };
        // SAFETY: the caller keeps the module's contract.
        unsafe { write_growing(out, sizes) }
    })
}

/// Writes to out the number of floats that a product with batch vectors needs as scratch. From 64 vectors on it stays the
/// same.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_packed_scratch_len(packed: *const PackedHandle, batch: usize, out: *mut usize) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (PackedLayer { layer, .. }, memory) = unsafe { opaque::borrow("packed", packed)? };
        let out = Out::new("out", out)?.apart_from(&[memory])?;
        // SAFETY: the caller keeps the module's contract.
        unsafe { out.write(layer.scratch_len(batch)) };
        Ok(())
    })
}

/// Computes y = A * (S * (B * x)) for one input x of x_len = k elements; writes m elements to y, which holds capacity
/// elements.
///
/// scratch is working memory of scratch_len elements, at least as many as armor_packed_scratch_len gives for 1; with NULL
/// and scratch_len 0 the call allocates it. No two of x, y and scratch may overlap, and calls at the same time must not
/// share scratch. Sums are float. An x with NaN or infinities gives what the dense matrix would; each infinity costs one
/// more product. Fails with ARMOR_INVALID_SHAPE for an x of another length, ARMOR_BUFFER_TOO_SMALL for y or scratch,
/// ARMOR_THREADS; y is then unchanged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_packed_apply(
    packed: *const PackedHandle,
    x: *const f32,
    x_len: usize,
    y: *mut f32,
    capacity: usize,
    scratch: *mut f32,
    scratch_len: usize,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let ((packed, memory), inputs) = unsafe { (opaque::borrow("packed", packed)?, input("x", x, x_len)?) };
        if x_len != packed.layer.cols() {
            return Err(Error::Length { argument: "x", found: x_len, expected: packed.layer.cols() }.into());
        }
        let x = ArrayView2::from_shape((1, x_len), inputs).expect("one row of all");
        let buffers = ProductBuffers { y, rows: 1, row_stride: packed.layer.rows(), capacity, scratch, scratch_len };
        // SAFETY: the caller keeps the module's contract.
        unsafe { buffers.multiply(packed, x.into(), &[memory, Span::new("x", inputs.as_ptr(), x_len)?]) }
    })
}

/// Computes y = A * (S * (B * x)) for the rows of x, a batch x k matrix of any dtype, read in place and rounded to float.
///
/// Row i of y, m elements, starts at element i * y_row_stride, which is at least m; y holds capacity elements, at least
/// (batch - 1) * y_row_stride + m. scratch is as in armor_packed_apply, for batch. The result for a vector has the same
/// bits as if it were multiplied alone. A batch of 0 is refused. Fails with ARMOR_INVALID_SHAPE, ARMOR_UNKNOWN_DTYPE, ARMOR_BUFFER_TOO_SMALL
/// and ARMOR_THREADS; y is then unchanged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_packed_apply_batch(
    packed: *const PackedHandle,
    x: *const MatrixView,
    y: *mut f32,
    y_row_stride: usize,
    capacity: usize,
    scratch: *mut f32,
    scratch_len: usize,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let ((packed, memory), view) = unsafe { (opaque::borrow("packed", packed)?, &input("x", x, 1)?[0]) };
        // SAFETY: the caller keeps the module's contract.
        let (x, span) = unsafe { view.inputs()? };
        let (rows, cols) = x.dim();
        if cols != packed.layer.cols() {
            return Err(Error::Length { argument: "x", found: cols, expected: packed.layer.cols() }.into());
        }
        let buffers = ProductBuffers { y, rows, row_stride: y_row_stride, capacity, scratch, scratch_len };
        // SAFETY: the caller keeps the module's contract.
        unsafe { buffers.multiply(packed, x, &[memory, span, Span::new("x", view, 1)?]) }
    })
}

/// The memory that a product writes: y, and scratch.
struct ProductBuffers {
    y: *mut f32,
    rows: usize,
    row_stride: usize,
    capacity: usize,
    scratch: *mut f32,
    scratch_len: usize,
}

impl ProductBuffers {
    /// Checks sizes and overlaps, and multiplies.
    ///
    /// # Safety
    /// The contract of [`super`].
    unsafe fn multiply(self, packed: &PackedLayer, x: Weight<'_>, inputs: &[Span]) -> Result<(), Failure> {
        let ProductBuffers { y, rows, row_stride, capacity, scratch, scratch_len } = self;
        let outputs = Span::new("y", y, capacity)?;
        outputs.is_apart_from(inputs)?;
        let len = packed.layer.rows();
        if row_stride < len {
            let message = format!("y_row_stride: is {row_stride}, expected {len} outputs or more");
            return Err(Failure::new(ARMOR_INVALID_SHAPE, message));
        }
        let needed = (rows - 1).checked_mul(row_stride).and_then(|before| before.checked_add(len));
        let needed = needed.ok_or_else(|| overflow("y", format!("{rows} rows of {row_stride} elements")))?;
        let too_small = |argument, found, needed| {
            let message = format!("{argument}: holds {found} elements, needs {needed}");
            Err(Failure::new(ARMOR_BUFFER_TOO_SMALL, message))
        };
        if capacity < needed {
            return too_small("y", capacity, needed);
        }
        let scratch_needed = packed.layer.scratch_len(rows);
        let mut own;
        let scratch = if scratch.is_null() && scratch_len == 0 {
            own = vec![0.0; scratch_needed];
            own.as_mut_slice()
        } else {
            let span = Span::new("scratch", scratch, scratch_len)?;
            span.is_apart_from(inputs)?;
            span.is_apart_from(&[outputs])?;
            if scratch_len < scratch_needed {
                return too_small("scratch", scratch_len, scratch_needed);
            }
            // SAFETY: the span is neither NULL nor misaligned nor too long, and it overlaps no other memory of this call; the
            // caller guarantees that it is valid.
            unsafe { slice::from_raw_parts_mut(scratch, scratch_len) }
        };
        // The stride to a second row that does not exist may lead to no valid address.
        let row_stride = if rows == 1 { len } else { row_stride };
        // SAFETY: the span is neither NULL nor misaligned, all rows lie in it, and it overlaps no other memory of this call;
        // the caller guarantees that it is valid.
        let y = unsafe { ArrayViewMut2::from_shape_ptr((rows, len).strides((row_stride, 1)), y) };
        packed.multiply(x, y, scratch)
    }
}

impl PackedLayer {
    fn multiply(&self, x: Weight<'_>, y: ArrayViewMut2<'_, f32>, scratch: &mut [f32]) -> Result<(), Failure> {
        let threads = match self.threads {
            0 => pool::threads()?,
            threads => threads,
        };
        let execution = Execution { set: InstructionSet::best(), threads };
        let multiply = || self.layer.multiply(execution, &x, y, scratch);
        let done = match &self.pool {
            Some(pool) => pool.install(multiply),
            None => multiply(),
        };
        done.map_err(Failure::from)
    }
}
