//! What the doctor asks: this machine, its networks, its router, and relays. What the answers mean is said in Python.

use std::time::Duration;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

/// An interface, its address, why it could not be asked, whether it was heard, who else was.
type Echo = (String, String, Option<String>, bool, Vec<String>);

/// A relay, where it was asked, from where, as whom it sees that, and after how many seconds.
type Sight = (String, String, Option<String>, Option<(String, f64)>);

/// Returns the interfaces that are up, each with one of its addresses.
#[pyfunction]
pub(crate) fn _interfaces(py: Python<'_>) -> PyResult<Vec<(String, String)>> {
    let found = py.detach(netplay_io::interface_addresses)?;
    Ok(found.into_iter().map(|(name, ip)| (name, ip.to_string())).collect())
}

/// Returns whether multicast comes back on each interface but loopback; takes so many seconds.
#[pyfunction]
pub(crate) fn _echoes(py: Python<'_>, seconds: f64) -> PyResult<Vec<Echo>> {
    let time = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let found = py.detach(|| netplay_io::lan::echoes(time))?;
    Ok(found
        .into_iter()
        .map(|echo| {
            let others = echo.others.iter().map(ToString::to_string).collect();
            (
                echo.interface,
                echo.address.to_string(),
                echo.problem,
                echo.is_heard,
                others,
            )
        })
        .collect())
}

/// Returns by what the router can be asked to open ports: UPnP, PCP, NAT-PMP; None if there is no router.
#[pyfunction]
pub(crate) fn _ask_gateway(py: Python<'_>) -> PyResult<Option<(bool, bool, bool)>> {
    #[cfg(feature = "p2p")]
    {
        let found = py.detach(netplay_io::ask_gateway)?;
        Ok(found.map(|gateway| (gateway.upnp, gateway.pcp, gateway.nat_pmp)))
    }
    #[cfg(not(feature = "p2p"))]
    {
        let _ = py;
        Err(without_p2p())
    }
}

/// Returns as whom these relays see this machine by UDP; None for the public ones.
#[pyfunction]
#[cfg_attr(not(feature = "p2p"), allow(unused_variables))]
pub(crate) fn _sights(py: Python<'_>, relays: Option<Vec<String>>, seconds: f64) -> PyResult<Vec<Sight>> {
    #[cfg(feature = "p2p")]
    {
        let timeout = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let found = py.detach(|| netplay_io::sights(relays.as_deref(), timeout));
        let found = found.map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidInput => PyValueError::new_err(error.to_string()),
            _ => PyOSError::new_err(error.to_string()),
        })?;
        Ok(found
            .into_iter()
            .map(|sight| {
                let local = sight.local.map(|local| local.to_string());
                let seen = sight
                    .seen
                    .map(|(address, taken)| (address.to_string(), taken.as_secs_f64()));
                (sight.relay, sight.remote.to_string(), local, seen)
            })
            .collect())
    }
    #[cfg(not(feature = "p2p"))]
    {
        let _ = PyValueError::new_err::<&str>;
        Err(without_p2p())
    }
}

#[cfg(not(feature = "p2p"))]
fn without_p2p() -> PyErr {
    PyOSError::new_err("this netplay was built without p2p")
}
