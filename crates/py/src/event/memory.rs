//! Where an event lies in memory: fields that the interpreter reads itself, made and freed without detours.
//!
//! Thousands of events come and go in every frame of a busy game. PyO3 makes and frees any object through the slots of its
//! type, which was a fifth of what receiving a small message took; these two types are written out for the interpreter instead.
//! They are `Event` to a game, and differ in one thing: what not all events have, `data`, can be no field of all.

use std::cell::Cell;
use std::mem::{offset_of, size_of};
use std::ptr::{self, NonNull};

use pyo3::exceptions::PySystemError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use super::{Body, Event};
use crate::peer::Peer;

/// What an event is made of.
#[repr(C)]
pub(super) struct Fields {
    head: ffi::PyObject,
    what: Py<PyAny>,
    /// A `Peer` or None.
    peer: Py<PyAny>,
    data: Option<Py<PyAny>>,
    weak_references: *mut ffi::PyObject,
    pub(super) body: Body,
}

impl Fields {
    /// Returns the fields of an event.
    pub(super) fn of<'a>(event: &'a Bound<'_, Event>) -> &'a Self {
        // SAFETY: nothing but `new` makes an Event, and it makes it with these fields, which do not change.
        unsafe { &*event.as_ptr().cast::<Self>() }
    }

    pub(super) fn peer(&self, py: Python<'_>) -> Option<Py<Peer>> {
        self.peer.bind(py).cast::<Peer>().ok().map(|peer| peer.clone().unbind())
    }

    pub(super) fn what(&self) -> &Py<PyAny> {
        &self.what
    }

    pub(super) fn data(&self) -> Option<&Py<PyAny>> {
        self.data.as_ref()
    }
}

/// Makes an event.
pub(super) fn new(
    py: Python<'_>,
    what: Py<PyAny>,
    peer: Option<Py<Peer>>,
    body: Body,
    data: Option<Py<PyAny>>,
) -> PyResult<Py<Event>> {
    let types = Types::get(py)?;
    let kind = if data.is_some() {
        &types.with_data
    } else {
        &types.without
    };
    let kind = kind.as_ptr().cast::<ffi::PyTypeObject>();
    let peer = peer.map_or_else(|| py.None(), Py::into_any);
    // SAFETY: the memory is of this size and nobody else's, for both types are; every field is written before the collector
    // may see it. An event can be kept in the `data` of its own peer and must be found there, so the collector has to know it.
    unsafe {
        let object = match FREE.take() {
            Some(object) => ffi::PyObject_Init(object.as_ptr(), kind),
            None => ffi::PyObject_GC_New::<ffi::PyObject>(kind),
        };
        if object.is_null() {
            return Err(PyErr::fetch(py));
        }
        let fields = object.cast::<Fields>();
        ptr::write(&raw mut (*fields).what, what);
        ptr::write(&raw mut (*fields).peer, peer);
        ptr::write(&raw mut (*fields).data, data);
        ptr::write(&raw mut (*fields).weak_references, ptr::null_mut());
        ptr::write(&raw mut (*fields).body, body);
        ffi::PyObject_GC_Track(object.cast());
        Ok(Bound::from_owned_ptr(py, object)
            .cast_into_unchecked::<Event>()
            .unbind())
    }
}

unsafe extern "C" fn free(object: *mut ffi::PyObject) {
    // SAFETY: the interpreter calls this once, attached, when nobody holds the event any more.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        let fields = object.cast::<Fields>();
        if !(*fields).weak_references.is_null() {
            ffi::PyObject_ClearWeakRefs(object);
        }
        let Fields { what, peer, data, .. } = &*fields;
        // Without asking whether this thread is attached to the interpreter, as dropping a `Py` does.
        ffi::Py_DECREF(what.as_ptr());
        ffi::Py_DECREF(peer.as_ptr());
        if let Some(data) = data {
            ffi::Py_DECREF(data.as_ptr());
        }
        if let Some(inner) = ptr::read(&raw const (*fields).body).into_inner() {
            ffi::Py_DECREF(inner.into_ptr());
        }
        let kind = ffi::Py_TYPE(object);
        FREE.give(object);
        ffi::Py_DECREF(kind.cast());
    }
}

unsafe extern "C" fn traverse(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    arg: *mut std::ffi::c_void,
) -> std::ffi::c_int {
    // SAFETY: the interpreter calls this between `new` and `free`; nothing here changes a count.
    unsafe {
        let fields = &*object.cast::<Fields>();
        let inner = [fields.data.as_ref(), Some(&fields.peer), fields.body.inner()];
        let inner = inner.into_iter().flatten().map(Py::as_ptr);
        for held in inner.chain([ffi::Py_TYPE(object).cast()]) {
            let result = visit(held, arg);
            if result != 0 {
                return result;
            }
        }
    }
    0
}

/// Memory of events that are gone, for those that come: a list through what was their `what`.
///
/// Python's collector counts what is allocated, and would look through thousands of new events in vain; it does not count this.
struct FreeList {
    first: Cell<*mut ffi::PyObject>,
    count: Cell<usize>,
}

// SAFETY: it is used by threads that are attached to the interpreter only, of which there is one at a time.
unsafe impl Sync for FreeList {}

static FREE: FreeList = FreeList {
    first: Cell::new(ptr::null_mut()),
    count: Cell::new(0),
};

impl FreeList {
    /// As many as `get()` returns at most.
    const CAPACITY: usize = 16_384;

    /// # Safety
    /// The thread is attached to the interpreter.
    unsafe fn take(&self) -> Option<NonNull<ffi::PyObject>> {
        let object = NonNull::new(self.first.get())?;
        // SAFETY: `give` has left the next one there.
        self.first.set(unsafe { *Self::next(object.as_ptr()) });
        self.count.set(self.count.get() - 1);
        Some(object)
    }

    /// # Safety
    /// The thread is attached to the interpreter; the memory is an event's whose fields are gone.
    unsafe fn give(&self, object: *mut ffi::PyObject) {
        if self.count.get() == Self::CAPACITY {
            // SAFETY: it was made by `PyObject_GC_New`.
            unsafe { ffi::PyObject_GC_Del(object.cast()) };
            return;
        }
        // SAFETY: the place is as large, and nobody looks at the field any more.
        unsafe { *Self::next(object) = self.first.get() };
        self.first.set(object);
        self.count.set(self.count.get() + 1);
    }

    /// # Safety
    /// The memory is an event's.
    unsafe fn next(object: *mut ffi::PyObject) -> *mut *mut ffi::PyObject {
        // SAFETY: as above.
        unsafe { (&raw mut (*object.cast::<Fields>()).what).cast() }
    }
}

/// The two types.
struct Types {
    without: Py<PyType>,
    with_data: Py<PyType>,
}

impl Types {
    fn get(py: Python<'_>) -> PyResult<&Self> {
        static TYPES: PyOnceLock<Types> = PyOnceLock::new();
        TYPES.get_or_try_init(py, || {
            Ok(Self {
                without: make_type(py, false)?,
                with_data: make_type(py, true)?,
            })
        })
    }
}

fn make_type(py: Python<'_>, has_data: bool) -> PyResult<Py<PyType>> {
    let base = py.get_type::<Event>();
    // The fields begin where the base ends: it may have none of its own.
    let size: usize = base.getattr("__basicsize__")?.extract()?;
    if size != size_of::<ffi::PyObject>() {
        return Err(PySystemError::new_err(format!("an Event is {size} bytes long")));
    }
    let field = |name: &'static std::ffi::CStr, offset: usize| ffi::PyMemberDef {
        name: name.as_ptr(),
        type_code: ffi::Py_T_OBJECT_EX,
        offset: offset.cast_signed(),
        flags: ffi::Py_READONLY,
        doc: ptr::null(),
    };
    let mut weak_references = field(c"__weaklistoffset__", offset_of!(Fields, weak_references));
    weak_references.type_code = ffi::Py_T_PYSSIZET;
    let mut members = vec![
        field(c"what", offset_of!(Fields, what)),
        field(c"peer", offset_of!(Fields, peer)),
        weak_references,
    ];
    if has_data {
        members.push(field(c"data", offset_of!(Fields, data)));
    }
    members.push(ffi::PyMemberDef::default());
    // The type keeps a pointer to them.
    let members = Box::leak(members.into_boxed_slice());
    let slot = |slot, pfunc| ffi::PyType_Slot { slot, pfunc };
    let mut slots = [
        slot(ffi::Py_tp_base, base.as_ptr().cast()),
        slot(ffi::Py_tp_dealloc, free as *mut std::ffi::c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut std::ffi::c_void),
        slot(ffi::Py_tp_members, members.as_mut_ptr().cast()),
        slot(0, ptr::null_mut()),
    ];
    let mut spec = ffi::PyType_Spec {
        name: c"netplay.Event".as_ptr(),
        basicsize: i32::try_from(size_of::<Fields>())?,
        itemsize: 0,
        flags: u32::try_from(ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_HAVE_GC)?,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the interpreter copies what it needs, but for the members, which stay.
    unsafe {
        Ok(Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&raw mut spec))?
            .cast_into_unchecked()
            .unbind())
    }
}
