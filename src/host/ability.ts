/**
 * One thing that a machine can or cannot do, found out by doing it. It knows nothing of what is tried.
 * @module
 */
import { SystemError } from '../sys/system-error.ts';
import { UsageError } from '../time/usage-error.ts';

/** What came of trying. */
export interface Ability {
  /** Short and stable, for scripts. */
  readonly name: string;
  /** What of Linkhold it is for. */
  readonly serves: string;
  /** Without it there is no daemon. */
  readonly essential: boolean;
  readonly there: boolean;
  /** What was found; or what is missing, and how to mend it. */
  readonly detail: string;
}

/** What is tried. */
export interface Trial {
  readonly name: string;
  readonly serves: string;
  readonly essential?: boolean;
  /** How to come by the right for it, told where that is what is missing. */
  readonly needs?: string;
  /** Does it, undoes it, and says what was found; throws where it cannot be done. */
  attempt(): string | Promise<string>;
}

/** Tries it. Throws only what is a mistake of ours. */
export async function tryAbility(trial: Trial): Promise<Ability> {
  const { name, serves, essential = false } = trial;
  try {
    const detail = await trial.attempt();
    return { name, serves, essential, there: true, detail };
  } catch (error) {
    return { name, serves, essential, there: false, detail: reasonOf(error as Error, trial) };
  }
}

function reasonOf(error: NodeJS.ErrnoException, { needs }: Trial): string {
  const { code, message } = error;
  const expected = error instanceof SystemError || error instanceof UsageError;
  if (!expected && error.syscall === undefined) throw error;
  const refused = code === 'EPERM' || code === 'EACCES';
  return refused && needs !== undefined ? `${code}: it needs ${needs}` : message;
}
