//! A port that does not speak gRPC.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Running, bind};

/// Answers every call as a REST port or an HTTP/1.1 proxy does.
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
                    // The client does not send its call if the reply comes first.
                    let mut request = Vec::new();
                    while !has_headers(&request) {
                        match connection.read_buf(&mut request).await {
                            Ok(0) | Err(_) => return,
                            Ok(_) => {}
                        }
                    }
                    let reply = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\
                                   connection: close\r\n\r\n";
                    let _ = connection.write_all(reply).await;
                    let _ = connection.shutdown().await;
                    // The client closes once it has read the reply.
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

/// Whether a HEADERS frame was received, with which a call starts.
fn has_headers(bytes: &[u8]) -> bool {
    const PREFACE_BYTES: usize = 24;
    const FRAME_HEAD_BYTES: usize = 9;
    const HEADERS: u8 = 1;
    let mut rest = bytes.get(PREFACE_BYTES..).unwrap_or_default();
    while let Some(head) = rest.get(..FRAME_HEAD_BYTES) {
        if head[3] == HEADERS {
            return true;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        rest = rest.get(FRAME_HEAD_BYTES + length..).unwrap_or_default();
    }
    false
}
