/**
 * The figures of links. Up to 2,000 links each has series of its own; above that those of a kind share
 * theirs (the label `link` is empty), so that the number of series never follows the number of links.
 * Sums by kind read the same either way. Links are followed from the first time somebody asks: a daemon
 * that nobody scrapes pays nothing.
 * @module
 */
import { setImmediate } from 'node:timers/promises';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { LINK_STATES, type LinkState } from '../../keepalive/keepalive.ts';
import { largestSilenceMs } from '../../keepalive/timing.ts';
import type { Link, ReplyEvent, StateEvent } from '../../link/link.ts';
import type { Supervisor } from '../supervisor.ts';

/** Links with series of their own, 20 each: to write a metric of all of them takes some 50 ms. */
export const MOST_SINGLE_LINKS = 2_000;
/** Links looked at before others have their turn. */
const AT_ONCE = 1_000;
/** Tags that are told apart. */
const MOST_TAGS = 1_000;

/** Seconds: from one machine room to the other side of the world, and what is too slow to use. */
const BUCKETS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1];

const OF_A_LINK = ['link', 'kind'] as const;
type OfALink = { readonly link: string; readonly kind: string };

type Counts = Record<LinkState, number>;

/** What is counted over all links in one go. */
interface Totals {
  readonly kinds: Map<string, Counts>;
  readonly tags: Map<string, Counts>;
  readonly worst: Map<string, { readonly boundMs: number; readonly silenceMs: number }>;
}

interface Followed {
  readonly labels: OfALink;
  readonly forget: () => void;
}

export class LinkMetrics {
  readonly #supervisor: Supervisor;
  readonly #links: Gauge<'kind' | 'state'>;
  readonly #tagged: Gauge<'tag' | 'state'>;
  readonly #state: Gauge<'link' | 'kind' | 'state'>;
  readonly #bound: Gauge<'link' | 'kind'>;
  readonly #silence: Gauge<'link' | 'kind'>;
  readonly #probes: Counter<'link' | 'kind'>;
  readonly #losses: Counter<'link' | 'kind'>;
  readonly #roundTrip: Histogram<'link' | 'kind'>;
  readonly #followed = new Map<Link, Followed>();
  #single = true;

  constructor(supervisor: Supervisor, registry: Registry) {
    this.#supervisor = supervisor;
    const registers = [registry];
    const gauge = <Label extends string>(name: string, help: string, labelNames: Label[]) =>
      new Gauge({ name, help, labelNames, registers });
    this.#links = gauge('linkhold_links', 'Links, by kind and state.', ['kind', 'state']);
    this.#tagged = gauge('linkhold_tagged_links', 'Links, by tag and state.', ['tag', 'state']);
    this.#state = gauge('linkhold_link_state', '1 for the state that the link is in, else 0.', [
      ...OF_A_LINK,
      'state',
    ]);
    this.#bound = gauge(
      'linkhold_link_detection_bound_seconds',
      'A dead peer is known within so long, in the worst case.',
      [...OF_A_LINK],
    );
    this.#silence = gauge(
      'linkhold_link_largest_silence_seconds',
      'The longest silence that the link leaves on the path while it is up.',
      [...OF_A_LINK],
    );
    const labelNames = [...OF_A_LINK];
    this.#probes = new Counter({
      name: 'linkhold_link_probes_total',
      help: 'Probes sent.',
      labelNames,
      registers,
    });
    this.#losses = new Counter({
      name: 'linkhold_link_losses_total',
      help: 'Probes that had no answer when the next one was due or the link was given up.',
      labelNames,
      registers,
    });
    this.#roundTrip = new Histogram({
      name: 'linkhold_link_round_trip_seconds',
      help: 'Round trips of probes.',
      labelNames,
      buckets: BUCKETS,
      registers,
    });
  }

  /** Brings everything up to date with the links there are. One at a time. */
  async refresh(): Promise<void> {
    const links = this.#supervisor.links();
    const single = links.length <= MOST_SINGLE_LINKS;
    if (single !== this.#single) this.#restart(single);
    this.#forgetGone();
    for (const gauge of [this.#state, this.#bound, this.#silence]) gauge.reset();
    const totals: Totals = { kinds: new Map(), tags: new Map(), worst: new Map() };
    for (let index = 0; index < links.length; index += AT_ONCE) {
      for (const link of links.slice(index, index + AT_ONCE)) {
        if (!this.#followed.has(link)) this.#begin(link);
        this.#count(link, totals);
        if (single) this.#showOne(link);
      }
      await setImmediate();
    }
    this.#showTotals(totals);
  }

  #restart(single: boolean): void {
    this.#single = single;
    for (const link of this.#followed.keys()) this.#unfollow(link);
    for (const metric of [this.#probes, this.#losses, this.#roundTrip]) metric.reset();
  }

  #labelsOf(link: Link): OfALink {
    return { link: this.#single ? link.name : '', kind: link.facts.kind };
  }

  /** A link made anew under its name goes on with that name's figures. */
  #forgetGone(): void {
    for (const [link, { labels }] of this.#followed) {
      const present = this.#supervisor.link(link.name);
      if (present === link) continue;
      this.#unfollow(link);
      if (!this.#single || present !== undefined) continue;
      for (const metric of [this.#probes, this.#losses, this.#roundTrip]) metric.remove(labels);
    }
  }

  #begin(link: Link): void {
    const labels = this.#labelsOf(link);
    // The last probe has no answer yet.
    let waits = false;
    const lose = () => {
      if (waits) this.#losses.inc(labels);
      waits = false;
    };
    const onProbe = () => {
      lose();
      waits = true;
      this.#probes.inc(labels);
    };
    const onReply = ({ rttMs }: ReplyEvent) => {
      waits = false;
      this.#roundTrip.observe(labels, rttMs / 1_000);
    };
    const onState = ({ to }: StateEvent) => {
      if (to === 'down') lose();
    };
    link.on('probe', onProbe).on('reply', onReply).on('state', onState);
    const forget = () => {
      link.off('probe', onProbe).off('reply', onReply).off('state', onState);
    };
    this.#followed.set(link, { labels, forget });
    this.#probes.inc(labels, 0);
    this.#losses.inc(labels, 0);
    this.#roundTrip.zero(labels);
  }

  #unfollow(link: Link): void {
    this.#followed.get(link)?.forget();
    this.#followed.delete(link);
  }

  #count(link: Link, { kinds, tags, worst }: Totals): void {
    const { kind } = link.facts;
    tally(kinds, kind, link.state);
    for (const tag of this.#supervisor.tagsOf(link.name)) {
      if (tags.has(tag) || tags.size < MOST_TAGS) tally(tags, tag, link.state);
    }
    const { boundMs = 0, silenceMs = 0 } = worst.get(kind) ?? {};
    worst.set(kind, {
      boundMs: Math.max(boundMs, link.detectsWithinMs),
      silenceMs: Math.max(silenceMs, largestSilenceMs(link.identity.timing)),
    });
  }

  #showOne(link: Link): void {
    const labels = this.#labelsOf(link);
    for (const state of LINK_STATES) {
      this.#state.set({ ...labels, state }, link.state === state ? 1 : 0);
    }
    this.#bound.set(labels, link.detectsWithinMs / 1_000);
    this.#silence.set(labels, largestSilenceMs(link.identity.timing) / 1_000);
  }

  #showTotals({ kinds, tags, worst }: Totals): void {
    this.#links.reset();
    this.#tagged.reset();
    for (const state of LINK_STATES) {
      for (const [kind, counts] of kinds) this.#links.set({ kind, state }, counts[state]);
      for (const [tag, counts] of tags) this.#tagged.set({ tag, state }, counts[state]);
    }
    if (this.#single) return;
    // Of many, the worst of each kind is what people have to reckon with.
    for (const [kind, { boundMs, silenceMs }] of worst) {
      this.#bound.set({ link: '', kind }, boundMs / 1_000);
      this.#silence.set({ link: '', kind }, silenceMs / 1_000);
    }
  }
}

function tally(all: Map<string, Counts>, key: string, state: LinkState): void {
  const counts = all.get(key) ?? { unknown: 0, up: 0, suspect: 0, down: 0, drained: 0 };
  counts[state] += 1;
  all.set(key, counts);
}
