import { useSyncExternalStore } from 'react';

const STEP = 15_000;
let now = Date.now();
let timer: number | undefined;
const listeners = new Set<() => void>();

function subscribe(listener: () => void) {
  listeners.add(listener);
  timer ??= window.setInterval(() => {
    now = Date.now();
    listeners.forEach((each) => each());
  }, STEP);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      window.clearInterval(timer);
      timer = undefined;
    }
  };
}

function snapshot() {
  // While nobody listens the clock stands; the first reader must not see an old hour.
  if (timer === undefined) now = Date.now();
  return now;
}

/** The time in milliseconds, renewed every 15 seconds by one timer for the whole page. */
export const useNow = () => useSyncExternalStore(subscribe, snapshot);
