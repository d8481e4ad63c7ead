//! A tensor that is to be written.

use safetensors::Dtype;

use crate::error::Error;

/// A tensor of a file that is to be written. Its bytes are made only when [`Tensor::into_bytes`] is called.
pub(crate) struct Tensor<'a> {
    /// Full name of the tensor in the file.
    pub name: String,
    /// Number type of the entries.
    pub dtype: Dtype,
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    data: Box<dyn FnOnce() -> Result<Vec<u8>, Error> + Send + 'a>,
}

impl<'a> Tensor<'a> {
    /// Names a tensor of this type and shape; `data` makes its bytes, little-endian and row-major.
    pub fn new(
        name: String,
        dtype: Dtype,
        shape: impl Into<Vec<usize>>,
        data: impl FnOnce() -> Result<Vec<u8>, Error> + Send + 'a,
    ) -> Self {
        Tensor { name, dtype, shape: shape.into(), data: Box::new(data) }
    }

    /// Length of the data in bytes.
    pub fn len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }

    /// Makes the data.
    ///
    /// # Errors
    /// [`Error::Overflow`] with the first value beyond the range of the tensor's number type.
    ///
    /// # Panics
    /// If the data have another length than the type and the shape give.
    pub fn into_bytes(self) -> Result<Vec<u8>, Error> {
        let expected = self.len();
        let bytes = (self.data)()?;
        assert_eq!(bytes.len(), expected, "the data of {} have another length than its shape gives", self.name);
        Ok(bytes)
    }
}
