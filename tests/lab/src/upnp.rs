//! What a double of a UPnP gateway says, and when it has heard a whole question.

/// The answer to a search: a service, and where the device is described.
#[must_use]
pub fn found(service: &str, location: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: {service}\r\nLOCATION: {location}\r\n\r\n")
}

/// Whether a question by HTTP has come in whole, with its body.
#[must_use]
pub fn is_whole(asked: &str) -> bool {
    asked.split_once("\r\n\r\n").is_some_and(|(head, body)| {
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        length.is_none_or(|length| length.parse().is_ok_and(|length: usize| body.len() >= length))
    })
}

/// An answer by HTTP; the status is e.g. `200 OK`.
#[must_use]
pub fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The description of a device with one service, which is asked at that path.
#[must_use]
pub fn description(service: &str, control: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><root xmlns=\"urn:schemas-upnp-org:device-1-0\"><device><serviceList><service>\
         <serviceType>{service}</serviceType><controlURL>{control}</controlURL><SCPDURL>/x</SCPDURL></service>\
         </serviceList></device></root>"
    )
}

/// A message of SOAP.
#[must_use]
pub fn envelope(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\">\
         <s:Body>{body}</s:Body></s:Envelope>"
    )
}

/// The answer by HTTP that an action failed, by its code; `description` is the element `errorDescription`, or nothing.
#[must_use]
pub fn fault(code: u16, description: &str) -> String {
    let body = envelope(&format!(
        "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>\
         <UPnPError xmlns=\"urn:schemas-upnp-org:control-1-0\"><errorCode>{code}</errorCode>{description}\
         </UPnPError></detail></s:Fault>"
    ));
    http("500 Internal Server Error", &body)
}
