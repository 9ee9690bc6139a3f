// An independent WebSocket server for the tests: the package `ws` on Node.js. It prints its port, then one line for
// each ended connection: its close code and reason.
const fs = require("fs");
const http = require("http");
const https = require("https");
const { WebSocketServer } = require("ws");

const pem = fs.readFileSync(process.env.CERTIFICATE);
const tls = process.argv.includes("tls");
const server = tls ? https.createServer({ cert: pem, key: pem }) : http.createServer();
const sockets = new WebSocketServer({
  server,
  perMessageDeflate: process.argv.includes("deflate"),
  handleProtocols: (offered) => (offered.has("chat.v2") ? "chat.v2" : false),
});

sockets.on("connection", (socket, request) => {
  if (request.url === "/hello") {
    socket.send(JSON.stringify({ agent: request.headers["x-agent"], protocol: socket.protocol }));
  }
  socket.on("message", (data, binary) => {
    const text = binary ? "" : data.toString();
    if (text === "fragments") {
      socket.send("äö", { fin: false });
      socket.send("", { fin: false });
      socket.send("ü", { fin: true });
    } else if (text === "bye") {
      socket.close(4001, "as you wish");
    } else if (text === "vanish") {
      socket.terminate();
    } else {
      socket.send(data, { binary });
    }
  });
  socket.on("close", (code, reason) => console.log(code, reason.toString()));
});

server.listen(0, "127.0.0.1", () => console.log(server.address().port));
