import { useQueryClient } from '@tanstack/react-query';
import { useEffect, useRef, useState } from 'react';
import { api, ok } from '../../api/client';
import type { Task, TaskState } from '../../api/types';

const OVER: TaskState[] = ['succeeded', 'failed', 'timed_out', 'cancelled', 'expired', 'skipped'];

export const isOver = (state: TaskState) => OVER.includes(state);

const PAUSE_MS = 700;

type Output = { stdout: string; stderr: string };

/**
 * The output of a task, appended to while it runs: only what is new is asked for. The offsets are bytes and
 * belong to the server, which never cuts a character in two.
 */
export function useLiveTask(task: Task): Output {
  const [output, setOutput] = useState<Output | null>(null);
  const client = useQueryClient();
  const { id } = task;
  // Output that was there from the beginning is complete when the task was over from the beginning.
  const wasOver = useRef(isOver(task.state));

  useEffect(() => {
    if (wasOver.current && task.stdout_bytes <= task.stdout.length && task.stderr_bytes <= task.stderr.length) return;
    const stop = new AbortController();
    let timer: number | undefined;
    let from = { stdout: 0, stderr: 0 };

    async function read(): Promise<void> {
      try {
        const next = await ok(api.GET('/api/v1/tasks/{id}/output', { params: { path: { id }, query: { stdout_from: from.stdout, stderr_from: from.stderr } }, signal: stop.signal }));
        const grew = next.stdout_next > from.stdout || next.stderr_next > from.stderr;
        from = { stdout: next.stdout_next, stderr: next.stderr_next };
        setOutput((before) => ({ stdout: (before?.stdout ?? '') + next.stdout, stderr: (before?.stderr ?? '') + next.stderr }));
        if (isOver(next.state) && !grew) {
          await client.invalidateQueries({ queryKey: ['tasks', id] });
          return;
        }
        timer = window.setTimeout(() => void read(), grew ? 250 : PAUSE_MS);
      } catch {
        if (!stop.signal.aborted) timer = window.setTimeout(() => void read(), PAUSE_MS * 4);
      }
    }

    setOutput(null);
    void read();
    return () => {
      stop.abort();
      window.clearTimeout(timer);
    };
    // The task object changes with every poll; only another task starts anew.
  }, [id, client]); // eslint-disable-line react-hooks/exhaustive-deps

  return output ?? { stdout: task.stdout, stderr: task.stderr };
}
