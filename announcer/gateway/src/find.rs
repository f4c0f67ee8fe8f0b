//! Finding the service of a gateway that forwards ports.

use std::net::Ipv4Addr;

use foghorn_portmap::{Answer, Ask, Fault};

use crate::{
    description::{DescriptionError, Service, services},
    fault::{broken, words},
    http, igd,
    outlet::Outlet,
    place::Place,
    provider::Bound,
    search::Search,
};

/// Searches the gateway, and asks its services for the outer address.
pub(crate) async fn find(outlet: &Outlet, gateway: Ipv4Addr, ssdp: u16) -> Result<(Service, Answer), Fault> {
    let mut search = Search::start(outlet, gateway, ssdp)?;
    let mut fault = None;
    while let Some(place) = search.next().await {
        match describe(outlet, &place).await {
            Ok(found) => return Ok(found),
            Err(error) => fault = Some(error),
        }
    }
    Err(fault.unwrap_or_else(|| search.silence()))
}

/// Of several services the one that has an outer address is the one to ask.
async fn describe(outlet: &Outlet, place: &Place) -> Result<(Service, Answer), Fault> {
    let description = http::get(outlet, place).await?;
    let services = services(place, &description).map_err(of_description)?;
    let mut found = Err(of_description(DescriptionError::NoService));
    for service in services {
        let answer = igd::ask(&service, Bound, outlet.source, &Ask::Find);
        match Bound::with(outlet, &service.control, answer).await {
            Ok(answer @ Answer::Found { outer: Some(_), .. }) => return Ok((service, answer)),
            Ok(answer) if found.is_err() => found = Ok((service, answer)),
            Ok(_) => {}
            Err(fault) => found = found.or(Err(fault)),
        }
    }
    found
}

fn of_description(error: DescriptionError) -> Fault {
    match error {
        DescriptionError::NoService => Fault::Unsupported(words(&error.to_string())),
        DescriptionError::Xml(_) | DescriptionError::Place(_) => broken(&error),
    }
}
