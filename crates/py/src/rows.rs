//! Objects of one class to rows of bits and back. Which fields there are is for `_messages.py` to say; how they are written
//! is in `netplay_proto::compact`.

use netplay_proto::compact::{RowReader, RowWriter, Steps, Width};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyFrozenSet, PyInt, PyList, PyString, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use crate::errors::UnsupportedData;

/// Makes rows of the objects of a class, and objects of rows.
#[pyclass(frozen, module = "netplay._core", name = "_Rows")]
pub(crate) struct Rows {
    /// Makes an object of the values of all fields: the class, mostly.
    make: Py<PyAny>,
    /// What messages call it.
    title: String,
    fields: Vec<Field>,
    size: usize,
}

struct Field {
    name: Py<PyString>,
    range: Range,
}

enum Range {
    Bool,
    Int { min: i64, max: i64 },
    Steps { steps: Steps, min: f64, max: f64 },
    Flags(Vec<Py<PyString>>),
}

impl Range {
    fn width(&self) -> Width {
        match self {
            Self::Bool => Width::up_to(1),
            Self::Int { min, max } => Width::up_to(max.abs_diff(*min)),
            Self::Steps { steps, .. } => steps.width(),
            Self::Flags(names) => Width::up_to(u64::MAX >> (64 - names.len())),
        }
    }

    /// Returns the number to write for a value.
    fn number(&self, value: &Bound<'_, PyAny>) -> PyResult<Result<u64, String>> {
        Ok(match self {
            Self::Bool => match value.cast::<PyBool>() {
                Ok(value) => Ok(u64::from(value.is_true())),
                Err(_) => Err(self.refusal(value, "a bool")?),
            },
            Self::Int { min, max } => {
                if !value.is_instance_of::<PyInt>() || value.is_instance_of::<PyBool>() {
                    return Ok(Err(self.refusal(value, "an int")?));
                }
                match value.extract::<i64>() {
                    Ok(number) if (min..=max).contains(&&number) => Ok(number.abs_diff(*min)),
                    _ => Err(format!("is {value}, it may be {min} to {max}")),
                }
            }
            Self::Steps { steps, min, max } => {
                let is_float = value.is_instance_of::<PyFloat>();
                if !is_float && (!value.is_instance_of::<PyInt>() || value.is_instance_of::<PyBool>()) {
                    return Ok(Err(self.refusal(value, "a float")?));
                }
                match value.extract::<f64>().ok().and_then(|value| steps.number(value)) {
                    Some(number) => Ok(number),
                    None => Err(format!("is {value}, it may be {min} to {max}")),
                }
            }
            Self::Flags(names) => {
                if value.is_instance_of::<PyString>() {
                    return Ok(Err(self.refusal(value, "a set of flags")?));
                }
                let Ok(items) = value.try_iter() else {
                    return Ok(Err(self.refusal(value, "a set of flags")?));
                };
                let mut number = 0;
                for item in items {
                    let item = item?;
                    let mut bit = None;
                    for (index, name) in names.iter().enumerate() {
                        if item.is(name) || item.eq(name)? {
                            bit = Some(index);
                            break;
                        }
                    }
                    let Some(bit) = bit else {
                        let known: Vec<String> = names.iter().map(ToString::to_string).collect();
                        return Ok(Err(format!(
                            "holds {}, its flags are {}",
                            item.repr()?,
                            known.join(", ")
                        )));
                    };
                    number |= 1 << bit;
                }
                Ok(number)
            }
        })
    }

    fn refusal(&self, value: &Bound<'_, PyAny>, wanted: &str) -> PyResult<String> {
        Ok(format!("is a {}, it must be {wanted}", value.get_type().name()?))
    }

    /// Returns the value of a number that `width` allows.
    fn value<'py>(&self, py: Python<'py>, number: u64) -> PyResult<Bound<'py, PyAny>> {
        Ok(match self {
            Self::Bool => PyBool::new(py, number != 0).to_owned().into_any(),
            Self::Int { min, .. } => min.wrapping_add_unsigned(number).into_pyobject(py)?.into_any(),
            Self::Steps { steps, .. } => PyFloat::new(py, steps.value(number)).into_any(),
            Self::Flags(names) => {
                let names = names.iter().enumerate();
                PyFrozenSet::new(
                    py,
                    names.filter(|(bit, _)| number >> bit & 1 != 0).map(|(_, name)| name),
                )?
                .into_any()
            }
        })
    }
}

impl Rows {
    fn write(&self, object: &Bound<'_, PyAny>, writer: &mut RowWriter) -> PyResult<()> {
        let py = object.py();
        for Field { name, range } in &self.fields {
            let value = object.getattr(name.bind(py))?;
            match range.number(&value)? {
                Ok(number) => writer.write(number, range.width()),
                Err(words) => return Err(UnsupportedData::new_err(format!("{}.{name} {words}", self.title))),
            }
        }
        writer.end_row();
        Ok(())
    }

    fn object<'py>(&self, py: Python<'py>, row: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        self.make.bind(py).call1(self.values(py, row)?)
    }

    fn values<'py>(&self, py: Python<'py>, row: &[u8]) -> PyResult<Bound<'py, PyTuple>> {
        let mut reader = RowReader::new(row);
        let mut values = Vec::with_capacity(self.fields.len());
        for Field { name, range } in &self.fields {
            let Some(number) = reader.read(range.width()) else {
                return Err(PyValueError::new_err(format!("{}.{name} is out of range", self.title)));
            };
            values.push(range.value(py, number)?);
        }
        if !reader.is_at_end() {
            return Err(PyValueError::new_err(format!(
                "{} has bits set that mean nothing",
                self.title
            )));
        }
        PyTuple::new(py, values)
    }

    fn check_len(&self, len: usize, is_fine: bool) -> PyResult<()> {
        if is_fine {
            return Ok(());
        }
        Err(PyValueError::new_err(format!(
            "{len} bytes, but a {} has {}",
            self.title, self.size
        )))
    }
}

#[pymethods]
impl Rows {
    /// Makes the rows of a class.
    ///
    /// Each field is a name and a tuple: `("bool",)`, `("int", min, max)`, `("float", min, max, step)`, `("angle", turn, step)`
    /// or `("flags", names…)`.
    #[new]
    fn new(title: String, make: Py<PyAny>, fields: Vec<(Bound<'_, PyString>, Bound<'_, PyTuple>)>) -> PyResult<Self> {
        let fields = fields
            .into_iter()
            .map(|(name, range)| {
                let range = read_range(&range)?;
                let name = PyString::intern(name.py(), &name.to_string_lossy()).unbind();
                Ok(Field { name, range })
            })
            .collect::<PyResult<Vec<_>>>()?;
        let bits: u32 = fields.iter().map(|field| field.range.width().bits()).sum();
        Ok(Self {
            make,
            title,
            fields,
            size: bits.div_ceil(8) as usize,
        })
    }

    /// How many bytes a row has.
    #[getter]
    fn size(&self) -> usize {
        self.size
    }

    /// Returns the row of an object.
    fn pack<'py>(&self, py: Python<'py>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let mut writer = RowWriter::with_capacity(self.size);
        self.write(value, &mut writer)?;
        Ok(PyBytes::new(py, &writer.into_bytes()))
    }

    /// Returns the rows of all objects in a list, one after the other.
    fn pack_all<'py>(&self, py: Python<'py>, values: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyBytes>> {
        let mut writer = RowWriter::with_capacity(self.size.saturating_mul(values.len()));
        for value in values {
            self.write(&value, &mut writer)?;
        }
        Ok(PyBytes::new(py, &writer.into_bytes()))
    }

    /// Returns the values in a row.
    fn unpack_values<'py>(&self, py: Python<'py>, row: &[u8]) -> PyResult<Bound<'py, PyTuple>> {
        self.check_len(row.len(), row.len() == self.size)?;
        self.values(py, row)
    }

    /// Returns the object of a row.
    fn unpack<'py>(&self, py: Python<'py>, row: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        self.check_len(row.len(), row.len() == self.size)?;
        self.object(py, row)
    }

    /// Returns the objects of rows that follow one another.
    fn unpack_all<'py>(&self, py: Python<'py>, rows: &[u8]) -> PyResult<Bound<'py, PyList>> {
        self.check_len(rows.len(), self.size > 0 && rows.len().is_multiple_of(self.size))?;
        let objects = PyList::empty(py);
        for row in rows.chunks_exact(self.size) {
            objects.append(self.object(py, row)?)?;
        }
        Ok(objects)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.make)
    }
}

fn read_range(words: &Bound<'_, PyTuple>) -> PyResult<Range> {
    let kind: String = words.get_item(0)?.extract()?;
    let none = || PyValueError::new_err(format!("{words} is no range, or has too many steps"));
    Ok(match kind.as_str() {
        "bool" => Range::Bool,
        "int" => {
            let (_, min, max): (String, i64, i64) = words.extract()?;
            if min > max {
                return Err(none());
            }
            Range::Int { min, max }
        }
        "float" => {
            let (_, min, max, step): (String, f64, f64, f64) = words.extract()?;
            let steps = Steps::new(min, max, step).ok_or_else(none)?;
            Range::Steps { steps, min, max }
        }
        "angle" => {
            let (_, turn, step): (String, f64, f64) = words.extract()?;
            let steps = Steps::around(turn, step).ok_or_else(none)?;
            let (min, max) = (f64::MIN, f64::MAX);
            Range::Steps { steps, min, max }
        }
        "flags" => {
            let names = words.iter().skip(1);
            let names = names
                .map(|name| Ok(PyString::intern(name.py(), &name.extract::<String>()?).unbind()))
                .collect::<PyResult<Vec<_>>>()?;
            if !(1..=64).contains(&names.len()) {
                return Err(none());
            }
            Range::Flags(names)
        }
        _ => return Err(none()),
    })
}
