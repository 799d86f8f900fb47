import { notifications } from '@mantine/notifications';
import { IconAlertTriangle, IconCheck } from '@tabler/icons-react';
import { Stack, Text } from '@mantine/core';
import { toProblem } from '../api/problem';
import { RequestId } from './States';

/** Says that something was done. */
export function notifyDone(message: string) {
  notifications.show({ message, color: 'teal', icon: <IconCheck size={16} />, autoClose: 4_000 });
}

/** Says what went wrong, with the request id; stays until it is read. */
export function notifyProblem(error: unknown) {
  if (error instanceof DOMException && error.name === 'AbortError') return;
  const problem = toProblem(error);
  notifications.show({
    id: `${problem.type}:${problem.detail ?? ''}`,
    color: 'red',
    icon: <IconAlertTriangle size={16} />,
    title: problem.title,
    autoClose: false,
    message: (
      <Stack gap={4}>
        {problem.detail && (
          <Text size="sm" className="foreign">
            {problem.detail}
          </Text>
        )}
        {problem.errors?.map((each) => (
          <Text key={each.pointer} size="xs" className="foreign">
            {each.pointer}: {each.detail}
          </Text>
        ))}
        <RequestId id={problem.request_id} />
      </Stack>
    ),
  });
}
