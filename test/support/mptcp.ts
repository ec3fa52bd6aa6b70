/**
 * Whether tests of Multipath TCP can run here.
 * @module
 */
import { requireMptcp } from '../../src/sys/mptcp.ts';

/** Why there is no Multipath TCP here, or `false`: for the `skip` of a suite. */
export function mptcpMissing(): string | false {
  try {
    requireMptcp();
    return false;
  } catch (error) {
    return (error as Error).message;
  }
}
