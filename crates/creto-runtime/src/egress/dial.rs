//! From a judged name to a connection: resolve once, judge the addresses, connect to one that passed.

use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::core::address::AddressClass;
use crate::core::destination::{AllowedHost, Destination, Host, may_reach};
use crate::egress::{EgressLimits, Resolver, allow_hint};

/// Most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum DialError {
    /// It leads where no sandbox may go.
    Forbidden(String),
    /// It cannot be reached.
    Unreachable(String),
}

impl DialError {
    pub(super) fn message(&self) -> &str {
        match self {
            Self::Forbidden(message) | Self::Unreachable(message) => message,
        }
    }
}

pub(super) async fn dial(
    destination: &Destination,
    explicit: &[AllowedHost],
    resolver: &dyn Resolver,
    limits: &EgressLimits,
) -> Result<(TcpStream, SocketAddr), DialError> {
    let addresses = match &destination.host {
        Host::Address(address) => vec![*address],
        Host::Name(name) => match timeout(limits.connect_time, resolver.resolve(name)).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => return Err(DialError::Unreachable(format!("`{name}` could not be resolved: {error}"))),
            Err(_) => return Err(DialError::Unreachable(format!("`{name}` could not be resolved in time"))),
        },
    };
    let reachable: Vec<IpAddr> =
        addresses.iter().copied().filter(|address| may_reach(destination, *address, explicit)).take(ADDRESSES_MAX).collect();
    if let (true, Some(address)) = (reachable.is_empty(), addresses.first()) {
        return Err(DialError::Forbidden(forbidden(destination, *address)));
    }
    let mut last = format!("`{}` has no address", destination.host);
    for address in reachable {
        let address = SocketAddr::new(address, destination.port);
        match timeout(limits.connect_time, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok((stream, address)),
            Ok(Err(error)) => last = format!("`{destination}` did not accept the connection: {error}"),
            Err(_) => last = format!("`{destination}` did not answer in time"),
        }
    }
    Err(DialError::Unreachable(last))
}

fn forbidden(destination: &Destination, address: IpAddr) -> String {
    let class = AddressClass::of(address);
    let what = format!("`{destination}` leads to a {} address of the host's own network", class.as_str());
    match class {
        AddressClass::Loopback | AddressClass::Private => {
            let place = Destination { host: Host::Address(address), port: destination.port };
            format!("{what}; if it is meant, {} and use that address", allow_hint(&place))
        }
        _ => format!("{what}; no sandbox may go there"),
    }
}
