/**
 * Every group with its story, those in trouble first.
 * @module
 */
import type { JSX } from 'preact';
import { useGroups } from './links-page.tsx';
import { GroupCard } from './story.tsx';

const MOST = 1_000;

export function GroupsPage(): JSX.Element {
  const { groups, known } = useGroups(MOST);
  return (
    <>
      <h1>Groups</h1>
      <p class="lead">
        A group is several paths to the same place. One carries the traffic; when it dies, another
        takes over, and traffic returns once the better one has proved itself.
      </p>
      {groups?.length === 0 && (
        <p class="card empty">
          There are none. A section <code>groups</code> in the configuration file makes some.
        </p>
      )}
      <div class="cards">
        {groups?.map((group) => (
          <GroupCard key={group.name} group={group} known={known} />
        ))}
      </div>
    </>
  );
}
