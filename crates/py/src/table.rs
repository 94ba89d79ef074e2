//! The payload of a table to the list of dicts that it stands for. What a table is, is in `netplay_proto::value`; that it is
//! within the limits has been measured.

use netplay_proto::value::{Scalar, take_array};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

/// Makes the list of dicts of a table. `decode` makes the list that its payload is, where not all values are scalars.
#[pyfunction]
pub(crate) fn _table<'py>(payload: &Bound<'py, PyBytes>, decode: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    if let Some(dicts) = of_scalars(payload.py(), payload.as_bytes())? {
        return Ok(dicts);
    }
    let items = decode.call1((payload,))?;
    let mut items = items.cast::<PyList>().map_err(|_| malformed())?.iter();
    let keys = items.next().ok_or_else(malformed)?;
    let keys: Vec<_> = keys.cast::<PyList>().map_err(|_| malformed())?.iter().collect();
    let table = Table::new(payload.py(), keys, items.len())?;
    table.dicts(|| Ok(items.next()))?.ok_or_else(malformed)
}

/// Makes the list of dicts if all keys and values are scalars, without making a list of all values first.
fn of_scalars<'py>(py: Python<'py>, mut payload: &[u8]) -> PyResult<Option<Bound<'py, PyList>>> {
    let (Some(count), Some(columns)) = (take_array(&mut payload), take_array(&mut payload)) else {
        return Ok(None);
    };
    let mut next = || Scalar::take(&mut payload).map(|scalar| object(py, scalar)).transpose();
    let mut keys = Vec::new();
    for _ in 0..columns {
        let Some(key) = next()? else {
            return Ok(None);
        };
        keys.push(key);
    }
    Table::new(py, keys, count.saturating_sub(1))?.dicts(next)
}

fn object<'py>(py: Python<'py>, scalar: Scalar<'_>) -> PyResult<Bound<'py, PyAny>> {
    Ok(match scalar {
        Scalar::Nil => py.None().into_bound(py),
        Scalar::Bool(value) => value.into_pyobject(py)?.to_owned().into_any(),
        Scalar::Int(value) => value.into_pyobject(py)?.into_any(),
        Scalar::Uint(value) => value.into_pyobject(py)?.into_any(),
        Scalar::Float(value) => value.into_pyobject(py)?.into_any(),
        Scalar::Text(value) => value.into_pyobject(py)?.into_any(),
    })
}

struct Table<'py> {
    keys: Vec<Bound<'py, PyAny>>,
    /// A dict with all keys: a copy of it is made in one step, and has room for them.
    empty: Bound<'py, PyDict>,
    len: usize,
}

impl<'py> Table<'py> {
    fn new(py: Python<'py>, keys: Vec<Bound<'py, PyAny>>, values: usize) -> PyResult<Self> {
        let empty = PyDict::new(py);
        for key in &keys {
            empty.set_item(key, py.None())?;
        }
        if keys.is_empty() || empty.len() != keys.len() || !values.is_multiple_of(keys.len()) {
            return Err(malformed());
        }
        let len = values / keys.len();
        Ok(Self { keys, empty, len })
    }

    /// Makes all dicts; None when `next` has no value any more.
    fn dicts(
        &self,
        mut next: impl FnMut() -> PyResult<Option<Bound<'py, PyAny>>>,
    ) -> PyResult<Option<Bound<'py, PyList>>> {
        let dicts = PyList::empty(self.empty.py());
        for _ in 0..self.len {
            let dict = self.empty.copy()?;
            for key in &self.keys {
                let Some(value) = next()? else {
                    return Ok(None);
                };
                dict.set_item(key, value)?;
            }
            dicts.append(dict)?;
        }
        Ok(Some(dicts))
    }
}

fn malformed() -> PyErr {
    PyValueError::new_err("a table whose keys are not all others, or are missing")
}
