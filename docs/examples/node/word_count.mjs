// A worker with two kinds: node word_count.mjs
//   word_count {text, ...}  counts words; some fields make it misbehave, to try that out
//   tell {text, pause_ms}   says a text word by word
import { setTimeout as sleep } from 'node:timers/promises';
import { Hold, Reject, Retry, serve } from './quern_worker.mjs';

const words = (text) => text.split(/\s+/).filter((word) => word !== '');

const held = new Set();

async function wordCount(job) {
    const { text, fail_first: failFirst = 0, hold_for_ms: holdMs, wait_ms: waitMs } = job.payload;
    if (typeof text !== 'string') throw new Reject('payload.text is missing');
    if (job.attempt <= failFirst)
        throw new Retry(`attempt ${job.attempt} fails, as it was asked to`);
    if (holdMs && !held.has(job.id)) {
        held.add(job.id);
        throw new Hold('it is too early', holdMs);
    }
    if (waitMs) {
        job.progress(0, words(text).length);
        await sleep(waitMs, undefined, { signal: job.signal });
    }
    if (job.payload.split) {
        const lines = text.split('\n');
        for (const line of lines)
            await job.spawn(job.payload.split_kind ?? 'word_count', { text: line });
        return { lines: lines.length };
    }
    return {
        words: words(text).length,
        attempt: job.attempt,
        pad: 'x'.repeat(job.payload.pad ?? 0) || undefined,
    };
}

async function tell(job) {
    const all = words(job.payload.text);
    if (job.payload.begin) {
        job.delta(job.payload.begin);
        job.reset(); // on second thoughts
    }
    for (const [at, word] of all.entries()) {
        job.delta(at === 0 ? word : ` ${word}`);
        if (job.payload.pause_ms)
            await sleep(job.payload.pause_ms, undefined, { signal: job.signal });
    }
    job.delta({ words: all.length }, 1);
    return { words: all.length };
}

serve({ word_count: wordCount, tell: { run: tell, streams: true } }, { slots: 4 });
