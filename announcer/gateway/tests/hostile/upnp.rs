//! UPnP.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use foghorn_portmap::{Answer, Ask, Client, Entry, Fault, Mapping, Port, Protocol, Transport};

use tokio::{net::UdpSocket, task::JoinSet};

use crate::double::{
    Double, GATEWAY, IP1, IP2, OTHER, Reply, SOURCE, description, envelope, fault, found, http, mapping, ok,
    outer, request, serve,
};

/// What an answer may take when nothing goes wrong.
const AT_ONCE: Duration = Duration::from_millis(900);
const FOUND: Answer = Answer::Found { outer: Some(Ipv4Addr::new(198, 51, 100, 7)), epoch: None };
const PORT: Port = Port { transport: Transport::Udp, number: 53 };

#[tokio::test]
async fn a_gateway_is_found_and_forwards_a_port() {
    let mut double =
        Double::of_service(IP1, |_| ok(&envelope("<u:AddPortMappingResponse xmlns:u='x'/>"))).await;
    let (answer, took) = double.ask(Ask::Find).await;
    assert_eq!(answer, Ok(FOUND));
    assert!(took < AT_ONCE, "{took:?}");
    let lease = Some(Duration::from_secs(3600));
    let (answer, _) = double.ask(Ask::Map(mapping())).await;
    assert_eq!(answer, Ok(Answer::Mapped { external: 8080, lease, outer: None, epoch: None }));
    assert_eq!(double.ask(Ask::Outer).await.0, Ok(FOUND));
    let asked = double.asked();
    let [_, _, add, _] = asked.as_slice() else { panic!("{asked:#?}") };
    for part in [
        "POST /ctl HTTP/1.1\r\n",
        "Connection: close\r\n",
        &format!("Host: 127.0.0.1:{}\r\n", double.http),
        &format!("Soapaction: \"{IP1}#AddPortMapping\"\r\n"),
        "<NewRemoteHost></NewRemoteHost>",
        "<NewExternalPort>8080</NewExternalPort>",
        "<NewProtocol>TCP</NewProtocol>",
        "<NewInternalPort>80</NewInternalPort>",
        "<NewInternalClient>127.0.0.5</NewInternalClient>",
        "<NewEnabled>1</NewEnabled>",
        "<NewPortMappingDescription>Foghorn &lt;web&gt;</NewPortMappingDescription>",
        "<NewLeaseDuration>3600</NewLeaseDuration>",
    ] {
        assert!(add.contains(part), "{part} is not in {add}");
    }
}

#[tokio::test]
async fn what_is_forwarded_already_is_told() {
    let entry = |index: &str| {
        envelope(&format!(
            "<u:Get{index}PortMappingEntryResponse xmlns:u='x'><NewRemoteHost/><NewExternalPort>53</NewExternalPort>\
             <NewProtocol>UDP</NewProtocol><NewInternalPort>5353</NewInternalPort>\
             <NewInternalClient>192.0.2.9</NewInternalClient><NewEnabled>1</NewEnabled>\
             <NewPortMappingDescription>a game</NewPortMappingDescription><NewLeaseDuration>0</NewLeaseDuration>\
             </u:Get{index}PortMappingEntryResponse>"
        ))
    };
    let mut double = Double::of_service(IP1, move |asked| match asked {
        asked if asked.contains("<NewPortMappingIndex>1</NewPortMappingIndex>") => fault(713, ""),
        asked if asked.contains("#GetGenericPortMappingEntry\"") => ok(&entry("Generic")),
        asked if asked.contains("<NewExternalPort>53</NewExternalPort>") => ok(&entry("Specific")),
        _ => fault(714, "<errorDescription>NoSuchEntryInArray</errorDescription>"),
    })
    .await;
    let entry = Entry {
        external: PORT,
        client: Client::Address(Ipv4Addr::new(192, 0, 2, 9)),
        port: 5353,
        description: "a game".to_owned(),
        permanent: true,
    };
    assert_eq!(double.find_and_ask(Ask::Entry(PORT)).await, Ok(Answer::Entry(Some(entry.clone()))));
    let none = Ask::Entry(Port { number: 54, ..PORT });
    assert_eq!(double.ask(none).await.0, Ok(Answer::Entry(None)));
    assert_eq!(double.ask(Ask::List(0)).await.0, Ok(Answer::Entry(Some(entry))));
    assert_eq!(double.ask(Ask::List(1)).await.0, Ok(Answer::Entry(None)));
    assert_eq!(double.ask(Ask::Unmap(mapping())).await.0, Ok(Answer::Unmapped));
}

#[tokio::test]
async fn each_error_code_of_a_gateway_is_the_right_fault() {
    let code = std::sync::Arc::new(AtomicU32::new(0));
    let told = std::sync::Arc::clone(&code);
    let mut double = Double::of_service(IP2, move |_| {
        fault(told.load(Ordering::Relaxed).try_into().unwrap(), "<errorDescription>why</errorDescription>")
    })
    .await;
    double.ask(Ask::Find).await.0.unwrap();
    for number in 400..740_u32 {
        code.store(number, Ordering::Relaxed);
        let (answer, _) = double.ask(Ask::Map(mapping())).await;
        let right = match (number, answer.unwrap_err()) {
            (718 | 729, fault) => fault == Fault::Taken,
            (724, fault) => fault == Fault::SamePortOnly,
            (725, fault) => fault == Fault::PermanentOnly,
            (728, fault) => fault == Fault::Full,
            (401 | 602, Fault::Unsupported(text)) => text.contains(&number.to_string()),
            (402 | 600 | 601 | 605, Fault::Arguments(text)) => text.contains(&number.to_string()),
            (606, Fault::Refused(text)) => text.contains("does not allow"),
            (_, Fault::Refused(text)) => text.contains(&number.to_string()),
            (_, _) => false,
        };
        assert!(right, "{number}");
    }
}

#[tokio::test]
async fn a_gateway_without_an_outer_address_is_found() {
    for answer in [
        ok(&outer("")),
        ok(&outer("0.0.0.0")),
        ok(&outer("2001:db8::1")),
        ok(&outer("not yet")),
        ok(&envelope("<u:GetExternalIPAddressResponse xmlns:u='x'/>")),
        fault(501, ""),
    ] {
        let mut double = Double::new(move |asked| match asked {
            asked if asked.starts_with("GET") => ok(&description(IP1, "/ctl")),
            _ => answer.clone(),
        })
        .await;
        assert_eq!(double.ask(Ask::Find).await.0, Ok(Answer::Found { outer: None, epoch: None }));
    }
}

#[tokio::test]
async fn of_two_connections_the_one_with_an_outer_address_is_asked() {
    let two = description(IP2, "/two").replace(
        "<serviceList>",
        &format!(
            "<serviceList><service><serviceType>{IP1}</serviceType><controlURL>/one</controlURL></service>"
        ),
    );
    let mut double = Double::new(move |asked| match asked {
        asked if asked.starts_with("GET") => ok(&two),
        asked if asked.starts_with("POST /two ") => ok(&outer("0.0.0.0")),
        _ => ok(&outer("198.51.100.7")),
    })
    .await;
    assert_eq!(double.ask(Ask::Find).await.0, Ok(FOUND));
    assert_eq!(double.ask(Ask::Outer).await.0, Ok(FOUND));
    let paths =
        double.asked().iter().map(|asked| asked.split(' ').nth(1).unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(paths, ["/desc.xml", "/two", "/one", "/one"]);
}

#[tokio::test]
async fn nobody_is_spoken_to_but_the_gateway() {
    let (other, asked) = serve(OTHER, 0, |_| ok(&description(IP1, "/ctl"))).await;
    let elsewhere = format!("http://{OTHER}:{other}/desc.xml");
    let based = |base: &str| {
        description(IP1, "/ctl").replace("<device>", &format!("<URLBase>{base}</URLBase><device>"))
    };
    let redirect = format!("HTTP/1.1 302 Found\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n");
    let mut cases = JoinSet::new();
    for answer in [
        Reply::Say(redirect.clone().into()),
        ok(&description(IP1, &elsewhere)),
        ok(&description(IP1, &elsewhere.replace("http:", ""))),
        ok(&based(&elsewhere)),
    ] {
        cases.spawn(async move {
            let mut double = Double::new(move |_| answer.clone()).await;
            let (answer, took) = double.ask(Ask::Find).await;
            assert!(matches!(answer, Err(Fault::Broken(_))), "{answer:?}");
            assert!(took < Duration::from_secs(4), "{took:?}");
        });
    }
    let mut double = Double::of_service(IP1, move |_| Reply::Say(redirect.clone().into())).await;
    let answer = double.find_and_ask(Ask::Map(mapping())).await;
    assert!(matches!(answer, Err(Fault::Broken(_))), "{answer:?}");
    for location in
        [elsewhere.clone(), elsewhere.replace("127.0.0.2", "localhost"), format!("http://x@{OTHER}/")]
    {
        cases.spawn(async move {
            let datagram = found(IP1, &location);
            let mut double =
                Double::found_at(move |_| vec![(GATEWAY, datagram.clone())], |_| Reply::Hang).await;
            let (answer, took) = double.ask(Ask::Find).await;
            assert!(matches!(answer, Err(Fault::Silent(_) | Fault::Elsewhere(OTHER))), "{answer:?}");
            assert!(took < Duration::from_secs(4), "{took:?}");
            assert_eq!(double.asked(), Vec::<String>::new());
        });
    }
    cases.join_all().await;
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_answer_to_a_search_from_another_address_does_not_count() {
    let (other, asked) = serve(OTHER, 0, |_| Reply::Hang).await;
    let mut double = Double::found_at(
        |http| {
            let right = format!("http://{GATEWAY}:{http}/desc.xml");
            vec![
                (OTHER, found(IP1, &format!("http://{OTHER}:{other}/desc.xml"))),
                (OTHER, found(IP1, &right.replace("desc", "wrong"))),
                (GATEWAY, "rubbish".to_owned()),
                (GATEWAY, found(IP1, &right)),
                (GATEWAY, found(IP1, &right)),
            ]
        },
        |asked| {
            if asked.starts_with("GET") { ok(&description(IP1, "/ctl")) } else { ok(&outer("198.51.100.7")) }
        },
    )
    .await;
    assert_eq!(double.ask(Ask::Find).await.0, Ok(FOUND));
    assert_eq!(double.asked().len(), 2);
    assert!(double.asked()[0].starts_with("GET /desc.xml "));
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_answer_that_leads_elsewhere_is_told_if_there_is_no_other() {
    let (other, asked) = serve(OTHER, 0, |_| Reply::Hang).await;
    let there = format!("http://{OTHER}:{other}/desc.xml");
    let mut cases = JoinSet::new();
    for (from, location) in [(OTHER, there.clone()), (GATEWAY, there)] {
        cases.spawn(async move {
            let mut double =
                Double::found_at(move |_| vec![(from, found(IP1, &location))], |_| Reply::Hang).await;
            assert_eq!(double.ask(Ask::Find).await.0, Err(Fault::Elsewhere(OTHER)));
        });
    }
    for (from, location) in [
        (OTHER, format!("http://{GATEWAY}:80/desc.xml")),
        (OTHER, "http://198.51.100.3/desc.xml".to_owned()),
        (GATEWAY, "http://router.example/desc.xml".to_owned()),
        (GATEWAY, "https://198.51.100.3/".to_owned()),
    ] {
        cases.spawn(async move {
            let mut double =
                Double::found_at(move |_| vec![(from, found(IP1, &location))], |_| Reply::Hang).await;
            assert!(matches!(double.ask(Ask::Find).await.0, Err(Fault::Silent(_))));
        });
    }
    cases.join_all().await;
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_gateway_that_refuses_the_description_takes_a_plain_one() {
    let mut double = Double::of_service(IP1, |asked| {
        let said = asked.split_once("<NewPortMappingDescription>").map_or("", |(_, rest)| rest);
        let said = said.split_once('<').map_or("", |(said, _)| said);
        match said.chars().all(|c| c.is_ascii_alphanumeric()) {
            true => ok(&envelope("<u:AddPortMappingResponse xmlns:u='x'/>")),
            false => fault(402, "<errorDescription>Invalid Args</errorDescription>"),
        }
    })
    .await;
    let refused = double.find_and_ask(Ask::Map(mapping())).await;
    assert!(matches!(refused, Err(Fault::Arguments(_))), "{refused:?}");
    let plain = Mapping { description: "foghorn1a2b3c4d5e6f7a8b".to_owned(), ..mapping() };
    let (granted, _) = double.ask(Ask::Map(plain)).await;
    assert!(matches!(granted, Ok(Answer::Mapped { external: 8080, .. })), "{granted:?}");
}

#[tokio::test]
async fn a_host_that_a_gateway_shows_by_a_name_has_that_name() {
    let mut double = Double::of_service(IP1, |_| {
        ok(&envelope(
            "<u:GetSpecificPortMappingEntryResponse xmlns:u='x'><NewInternalPort>5353</NewInternalPort>\
             <NewInternalClient>device-9</NewInternalClient><NewPortMappingDescription>fogh</NewPortMappingDescription>\
             <NewLeaseDuration>60</NewLeaseDuration></u:GetSpecificPortMappingEntryResponse>",
        ))
    })
    .await;
    let Ok(Answer::Entry(Some(entry))) = double.find_and_ask(Ask::Entry(PORT)).await else { panic!() };
    assert_eq!(entry.client, Client::Named("device-9".to_owned()));
}

#[tokio::test]
async fn a_gateway_that_answers_searches_by_multicast_alone_is_found() {
    let answer = |asked: &str| match asked {
        asked if asked.starts_with("GET") => ok(&description(IP1, "/ctl")),
        _ => ok(&outer("198.51.100.7")),
    };
    let mut double = Double::found_at(|_| Vec::new(), answer).await;
    let group = Ipv4Addr::new(239, 255, 255, 250);
    let socket = UdpSocket::bind((group, double.ports.ssdp)).await.unwrap();
    socket.join_multicast_v4(group, GATEWAY).unwrap();
    let datagram = found(IP1, &format!("http://{GATEWAY}:{}/desc.xml", double.http));
    tokio::spawn(async move {
        let answers = UdpSocket::bind((GATEWAY, 0)).await.unwrap();
        let mut buffer = [0; 1500];
        loop {
            let (_, from) = socket.recv_from(&mut buffer).await.unwrap();
            answers.send_to(datagram.as_bytes(), from).await.unwrap();
        }
    });
    let (answer, took) = double.ask(Ask::Find).await;
    assert_eq!(answer, Ok(FOUND));
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn a_second_description_is_tried_if_the_first_is_of_no_use() {
    let mut double = Double::found_at(
        |http| {
            let at = |path| (GATEWAY, found(IP1, &format!("http://{GATEWAY}:{http}/{path}.xml")));
            vec![at("wrong"), at("wrong"), at("desc")]
        },
        |asked| match asked {
            asked if asked.starts_with("GET /wrong.xml ") => http("404 Not Found", ""),
            asked if asked.starts_with("GET") => ok(&description(IP1, "/ctl")),
            _ => ok(&outer("198.51.100.7")),
        },
    )
    .await;
    assert_eq!(double.ask(Ask::Find).await.0, Ok(FOUND));
    assert_eq!(double.asked().len(), 3);
}

#[tokio::test]
async fn whatever_a_gateway_answers_is_a_fault_in_time() {
    let head = "HTTP/1.1 200 OK\r\n";
    let long = "x".repeat(70_000);
    let silent: fn(&Fault) -> bool = |fault| matches!(fault, Fault::Silent(_));
    let broken: fn(&Fault) -> bool = |fault| matches!(fault, Fault::Broken(_));
    let refused: fn(&Fault) -> bool = |fault| matches!(fault, Fault::Refused(_));
    let say = |text: String| Reply::Say(text.into());
    let mut cases = JoinSet::new();
    for (what, answer, right) in [
        ("a huge body", ok(&long), broken),
        ("a body without end", Reply::Flood(format!("{head}\r\n{long}").into()), broken),
        ("a head without end", Reply::Flood(b"X: y\r\n".to_vec()), broken),
        ("a header without end", Reply::Flood(format!("{head}X: {long}").into()), broken),
        ("many headers", say(format!("{head}{}\r\n", "X: y\r\n".repeat(200))), broken),
        ("continuations without end", Reply::Flood(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()), silent),
        (
            "a chunk without end",
            Reply::Flood(format!("{head}Transfer-Encoding: chunked\r\n\r\nfffffffff\r\n{long}").into()),
            broken,
        ),
        ("a slow body", Reply::Drip(format!("{head}\r\n{long}").into()), silent),
        ("silence", Reply::Hang, silent),
        ("an end at once", say(String::new()), broken),
        ("an end in the head", say("HTTP/1.1 20".to_owned()), broken),
        ("an end in the body", say(format!("{head}Content-Length: 500\r\n\r\n<a>")), broken),
        ("no HTTP", say("SSH-2.0-OpenSSH_9.9\r\n".to_owned()), broken),
        ("no XML", ok("yes"), broken),
        ("an empty body", ok(""), broken),
        ("another answer", ok(&outer("198.51.100.7")), broken),
        ("deep XML", ok(&"<a>".repeat(20_000)), broken),
        ("entities", ok("<!DOCTYPE a [<!ENTITY b 'b'>]><a>&b;</a>"), broken),
        ("an error without a fault", http("500 Internal Server Error", "no"), broken),
        ("not found", http("404 Not Found", ""), broken),
        (
            "a fault with a success",
            ok(&envelope(
                "<s:Fault><detail><UPnPError><errorCode>501</errorCode></UPnPError></detail></s:Fault>",
            )),
            refused,
        ),
    ] {
        cases.spawn(async move {
            let mut double = Double::of_service(IP1, move |_| answer.clone()).await;
            double.ask(Ask::Find).await.0.unwrap();
            let (answer, took) = double.ask(Ask::Map(mapping())).await;
            assert!(answer.as_ref().is_err_and(right), "{what}: {answer:?}");
            assert!(took < Duration::from_millis(4200), "{what}: {took:?}");
            let (Err(Fault::Silent(text) | Fault::Broken(text) | Fault::Refused(text)), what) =
                (answer, what)
            else {
                panic!("{what}")
            };
            assert!(text.chars().count() <= 260 && !text.contains(char::is_control), "{what}: {text}");
        });
    }
    cases.join_all().await;
}

#[tokio::test]
async fn a_gateway_that_drips_its_description_is_given_up_in_time() {
    let mut double = Double::new(|_| Reply::Drip(vec![b'H'; 1000])).await;
    let (answer, took) = double.ask(Ask::Find).await;
    assert!(matches!(answer, Err(Fault::Silent(_) | Fault::Broken(_))), "{answer:?}");
    assert!(took < Duration::from_millis(6200), "{took:?}");
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_silent() {
    let mut double = Double::found_at(|_| Vec::new(), |_| Reply::Hang).await;
    let (answer, took) = double.ask(Ask::Find).await;
    assert!(matches!(answer, Err(Fault::Silent(_))), "{answer:?}");
    assert!(took < Duration::from_millis(6200), "{took:?}");
    assert!(matches!(double.ask(Ask::Outer).await.0, Err(Fault::Silent(_))));
    let mut refusing =
        Double::found_at(|_| vec![(GATEWAY, found(IP1, "http://127.0.0.1:9/"))], |_| Reply::Hang).await;
    let (answer, _) = refusing.ask(Ask::Find).await;
    assert!(matches!(answer, Err(Fault::Silent(_))), "{answer:?}");
}

#[tokio::test]
async fn a_source_that_is_none_of_this_node_is_told() {
    let mut double = Double::of_service(IP1, |_| Reply::Hang).await;
    double.ask(Ask::Find).await.0.unwrap();
    for ask in [Ask::Outer, Ask::Find] {
        for protocol in [Protocol::Igd, Protocol::Pcp, Protocol::NatPmp] {
            let mut request = request(protocol, ask.clone());
            request.source = Ipv4Addr::new(192, 0, 2, 77);
            let answer = double.speaker.ask(&request).await;
            assert!(matches!(answer, Err(Fault::NotBound(_))), "{protocol}: {answer:?}");
        }
    }
    assert_eq!(SOURCE, request(Protocol::Igd, Ask::Outer).source);
}
