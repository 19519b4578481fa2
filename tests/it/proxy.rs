//! The proxy that stands before real servers when something is to fail.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::support::proxy::{End, Proxy, Way};

/// A server that says back what it is told, after a letter of its own.
async fn echo(letter: u8) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut told = [0; 100];
                while let Ok(read @ 1..) = connection.read(&mut told).await {
                    let reply = [&[letter], &told[..read]].concat();
                    if connection.write_all(&reply).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    port
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

/// Says a word and reads a reply of its length and one more.
async fn say(connection: &mut TcpStream, word: &str) -> std::io::Result<String> {
    connection.write_all(word.as_bytes()).await?;
    let mut reply = vec![0; word.len() + 1];
    connection.read_exact(&mut reply).await?;
    Ok(String::from_utf8(reply).unwrap())
}

async fn failure(connection: &mut TcpStream) -> ErrorKind {
    say(connection, "hello").await.unwrap_err().kind()
}

#[tokio::test]
async fn it_lets_all_through_and_counts_it() {
    let proxy = Proxy::to(echo(b'>').await).await;
    for number in 1..=3 {
        let mut connection = connect(&proxy).await;
        assert_eq!(say(&mut connection, "hello").await.unwrap(), ">hello");
        assert_eq!(proxy.accepted(), number);
    }
    assert_eq!(
        [Way::Requests, Way::Replies].map(|way| proxy.seen(way)),
        [15, 18]
    );
}

#[tokio::test]
async fn it_refuses_and_turns_away_new_connections_alone() {
    let proxy = Proxy::to(echo(b'>').await).await;
    let mut before = connect(&proxy).await;
    say(&mut before, "hello").await.unwrap();
    for _ in 0..2 {
        proxy.refuse().await;
        let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        say(&mut before, "hello").await.unwrap();
        proxy.heal().await;
        say(&mut connect(&proxy).await, "hello").await.unwrap();
    }
    proxy.turn_away();
    // It may be reset before or after the word is written.
    let ended = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(ended.contains(&failure(&mut connect(&proxy).await).await));
    say(&mut before, "hello").await.unwrap();
    proxy.heal().await;
    say(&mut connect(&proxy).await, "hello").await.unwrap();
}

#[tokio::test]
async fn it_resets_all_connections() {
    let proxy = Proxy::to(echo(b'>').await).await;
    let mut connections = [connect(&proxy).await, connect(&proxy).await];
    for connection in &mut connections {
        say(connection, "hello").await.unwrap();
    }
    proxy.reset();
    for connection in &mut connections {
        let mut rest = Vec::new();
        let ended = connection.read_to_end(&mut rest).await.unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::ConnectionReset);
    }
    say(&mut connect(&proxy).await, "hello").await.unwrap();
}

#[tokio::test]
async fn it_cuts_one_connection_after_so_many_bytes() {
    let proxy = Proxy::to(echo(b'>').await).await;
    for (way, most) in [(Way::Requests, 5), (Way::Replies, 6)] {
        for end in [End::Reset, End::Close] {
            for bytes in 0..=most {
                let mut connection = connect(&proxy).await;
                say(&mut connection, "a").await.unwrap();
                proxy.cut_after(bytes, way, end);
                connection.write_all(b"hello").await.unwrap();
                let mut reply = Vec::new();
                let ended = connection.read_to_end(&mut reply).await;
                assert_eq!(ended.is_err(), end == End::Reset, "{way:?} {end:?} {bytes}");
                if way == Way::Replies && end == End::Close {
                    assert_eq!(reply, &b">hello"[..bytes]);
                }
                say(&mut connect(&proxy).await, "hello").await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn it_holds_and_delays_what_goes_one_way_or_both() {
    let proxy = Proxy::to(echo(b'>').await).await;
    let mut connection = connect(&proxy).await;
    say(&mut connection, "hello").await.unwrap();
    proxy.hold_one(Way::Replies);
    connection.write_all(b"one").await.unwrap();
    while proxy.seen(Way::Replies) < 10 {
        tokio::task::yield_now().await;
    }
    proxy.hold();
    connection.write_all(b"two").await.unwrap();
    while proxy.seen(Way::Requests) < 11 {
        tokio::task::yield_now().await;
    }
    let mut reply = [0; 8];
    let early = tokio::time::timeout(Duration::from_millis(50), connection.peek(&mut reply));
    assert!(early.await.is_err());
    proxy.heal().await;
    connection.read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply, b">one>two");

    let started = Instant::now();
    proxy.delay(Way::Requests, Duration::from_millis(60));
    proxy.delay(Way::Replies, Duration::from_millis(60));
    say(&mut connection, "hello").await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(120));
}

#[tokio::test]
async fn it_leads_new_connections_elsewhere() {
    let proxy = Proxy::to(echo(b'1').await).await;
    let mut before = connect(&proxy).await;
    say(&mut before, "hello").await.unwrap();
    proxy.lead_to(echo(b'2').await);
    assert_eq!(say(&mut before, "hello").await.unwrap(), "1hello");
    assert_eq!(
        say(&mut connect(&proxy).await, "hello").await.unwrap(),
        "2hello"
    );
}
