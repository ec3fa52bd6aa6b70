/**
 * What the kernel tells of a Multipath TCP connection (RFC 8684): `struct mptcp_subflow_data` of
 * linux/mptcp.h, and behind it a `tcp_info` of each subflow. In the machine's own byte order, as
 * getsockopt(MPTCP_TCPINFO) answers it.
 * @module
 */
import { DecodeError } from './decode-error.ts';
import { decodeTcpInfo, TCP_INFO_LENGTH, type TcpInfo } from './tcp-info.ts';

const HEAD_LENGTH = 16;
/** State of a connection that is over (net/tcp_states.h). */
const TCP_CLOSE = 7;

/** A question with room for so many subflows of so many bytes each. */
export function encodeSubflowQuestion(subflows: number): Uint8Array {
  const bytes = new Uint8Array(HEAD_LENGTH + subflows * TCP_INFO_LENGTH);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, HEAD_LENGTH, true);
  view.setUint32(12, TCP_INFO_LENGTH, true);
  return bytes;
}

/**
 * The subflows of an answer that still live, as many as there was room for. The first one stays in the
 * list when it is over. Throws `DecodeError`.
 */
export function decodeSubflows(view: DataView): TcpInfo[] {
  if (view.byteLength < HEAD_LENGTH)
    throw new DecodeError('mptcp-info', 'cut-short', view.byteLength);
  const head = view.getUint32(0, true);
  const size = view.getUint32(12, true);
  if (head < HEAD_LENGTH) throw new DecodeError('mptcp-info', 'bad-head', head);
  if (size < TCP_INFO_LENGTH) throw new DecodeError('mptcp-info', 'bad-size', size);
  const room = Math.floor(Math.max(0, view.byteLength - head) / size);
  const count = Math.min(view.getUint32(4, true), room);
  return Array.from({ length: count }, (_, at) => decodeTcpInfo(view, head + at * size)).filter(
    ({ state }) => state !== TCP_CLOSE,
  );
}

/**
 * A connection as its best subflow has it: alive while one of them is. Undefined without any: then
 * nothing carries it.
 */
export function bestOfSubflows(subflows: readonly TcpInfo[]): TcpInfo | undefined {
  const least = (key: 'silentMs' | 'probes' | 'retransmits') =>
    Math.min(...subflows.map((subflow) => subflow[key]));
  const liveliest = subflows.find(({ silentMs }) => silentMs === least('silentMs'));
  if (liveliest === undefined) return undefined;
  return { ...liveliest, probes: least('probes'), retransmits: least('retransmits') };
}
