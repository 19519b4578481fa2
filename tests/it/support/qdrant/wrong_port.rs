//! A port that does not speak gRPC.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Running, bind};

/// Answers whatever comes as a port for REST, or a proxy, answers gRPC.
pub struct HttpOnly {
    port: u16,
    _running: Running,
}

impl HttpOnly {
    pub async fn start() -> Self {
        let (listener, port) = bind(0);
        let running = Running::new(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((mut connection, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut request = [0; 1024];
                    let _ = connection.read(&mut request).await;
                    let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\
                                   connection: close\r\n\r\n";
                    let _ = connection.write_all(answer).await;
                    let _ = connection.shutdown().await;
                    // Closed with something unread, it would be reset, and the
                    // answer might be lost.
                    let _ = tokio::io::copy(&mut connection, &mut tokio::io::sink()).await;
                });
            }
        });
        Self {
            port,
            _running: running,
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
