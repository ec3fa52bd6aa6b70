// Two ends of a small UDP protocol in one program: a counter, a text, and an HMAC over both. One of them
// falls silent after two seconds; the other one says so a second later, and again when it is back.
//
//   node examples/udp-session.js
import { createHmac, timingSafeEqual } from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { UdpSession } from 'linkhold';

const TAG = 32;
const tagOf = (bytes) => createHmac('sha256', 'a secret of both ends').update(bytes).digest();

/** What seals our packets and opens theirs. Each has a number, so that a recording is no sign of life. */
function protocol() {
  let sent = Date.now() * 1_000;
  let heard = 0;
  return {
    seal(text) {
      sent += 1;
      const plain = Buffer.from(`${sent} ${text}`);
      return Buffer.concat([tagOf(plain), plain]);
    },
    open(bytes) {
      const plain = bytes.subarray(TAG);
      if (plain.length === 0 || !timingSafeEqual(tagOf(plain), bytes.subarray(0, TAG))) return false;
      const number = Number.parseInt(plain.toString(), 10);
      if (number <= heard) return false;
      heard = number;
      return true;
    },
  };
}

async function bound() {
  const socket = dgram.createSocket('udp4').bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return socket;
}

function session(name, socket) {
  const { seal, open } = protocol();
  const made = new UdpSession(socket, {
    name,
    time: '1s',
    beat: '200ms',
    makeBeat: () => seal('beat'),
    receive: open,
  });
  made.on('state', ({ from, to, reason, evidence }) => {
    console.log(`${name}: ${from} → ${to} (${reason})`, evidence);
  });
  made.start();
  return made;
}

const [here, there] = [await bound(), await bound()];
for (const [socket, peer] of [
  [here, there],
  [there, here],
]) {
  socket.connect(peer.address().port, '127.0.0.1');
  await once(socket, 'connect');
}

const watching = session('here', here);
const first = session('there', there);
setTimeout(() => first.close(), 2_000);
setTimeout(() => {
  const second = session('there again', there);
  setTimeout(() => {
    for (const one of [watching, second]) one.close();
    for (const socket of [here, there]) socket.close();
  }, 1_000);
}, 5_000);
