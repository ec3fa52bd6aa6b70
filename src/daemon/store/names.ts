/**
 * Names of links and groups as small numbers, so that a row of a minute needs no text. A link and a
 * group of the same name share one; names are never forgotten.
 * @module
 */
import type { DatabaseSync, StatementSync } from './sqlite.ts';

export class Names {
  readonly #ids = new Map<string, number>();
  readonly #find: StatementSync;
  readonly #add: StatementSync;
  readonly #after: StatementSync;

  constructor(db: DatabaseSync) {
    this.#find = db.prepare('SELECT id FROM names WHERE name = ?');
    this.#add = db.prepare('INSERT INTO names (name) VALUES (?) RETURNING id');
    this.#after = db.prepare('SELECT id FROM names WHERE id > ? ORDER BY id LIMIT ?');
  }

  /** Its number, or `undefined` if it never had one. */
  find(name: string): number | undefined {
    const known = this.#ids.get(name);
    if (known !== undefined) return known;
    const id = this.#find.get(name)?.['id'];
    if (typeof id !== 'number') return undefined;
    this.#ids.set(name, id);
    return id;
  }

  /** Its number, given now if need be. */
  idOf(name: string): number {
    const known = this.find(name);
    if (known !== undefined) return known;
    const id = Number(this.#add.get(name)?.['id']);
    this.#ids.set(name, id);
    return id;
  }

  /** Up to `limit` numbers above `id`, ascending. */
  after(id: number, limit: number): number[] {
    return this.#after.all(id, limit).map((row) => Number(row['id']));
  }
}
