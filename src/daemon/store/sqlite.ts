/**
 * SQLite as Node has it.
 * @module
 */
// biome-ignore lint/correctness/noUnresolvedImports: the linter's list of Node's modules lacks it
export { DatabaseSync, type StatementSync } from 'node:sqlite';
