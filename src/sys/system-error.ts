/**
 * The error for what this machine refused or cannot do.
 * @module
 */

/**
 * A system call failed or the machine lacks something. `code` is the errno name (`EPERM`) or a
 * stable word of ours (`ffi-missing`); the message says what to do. Commands exit with 3.
 */
export class SystemError extends Error {
  override readonly name = 'SystemError';
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}
