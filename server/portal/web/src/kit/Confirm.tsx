import { Button, Code, Group, Modal, Stack, Text, TextInput, Textarea } from '@mantine/core';
import { createContext, useCallback, useContext, useState, type FormEvent, type ReactNode } from 'react';
import { t } from '../messages/t';

export type Question = {
  title: string;
  body?: ReactNode;
  confirm: string;
  /** Red, for what cannot be undone. */
  danger?: boolean;
  /** What must be typed, e.g. the name of the thing. */
  typed?: string;
  reason?: 'optional' | 'required';
};

export type Answer = { reason: string };

type Ask = (question: Question) => Promise<Answer | null>;

const ConfirmContext = createContext<Ask>(() => Promise.resolve(null));

/** `const answer = await confirm({...}); if (!answer) return;` */
export const useConfirm = () => useContext(ConfirmContext);

type Open = { question: Question; settle: (answer: Answer | null) => void };

export function ConfirmProvider({ children }: { children: ReactNode }) {
  const [open, setOpen] = useState<Open | null>(null);
  const ask = useCallback<Ask>((question) => new Promise((settle) => setOpen({ question, settle })), []);

  function close(answer: Answer | null) {
    open?.settle(answer);
    setOpen(null);
  }

  return (
    <ConfirmContext.Provider value={ask}>
      {children}
      {open && <ConfirmDialog question={open.question} onClose={close} />}
    </ConfirmContext.Provider>
  );
}

function ConfirmDialog({ question, onClose }: { question: Question; onClose: (answer: Answer | null) => void }) {
  const [typed, setTyped] = useState('');
  const [reason, setReason] = useState('');
  const ready = (!question.typed || typed.trim() === question.typed) && (question.reason !== 'required' || reason.trim() !== '');

  function submit(event: FormEvent) {
    event.preventDefault();
    if (ready) onClose({ reason: reason.trim() });
  }

  return (
    <Modal opened onClose={() => onClose(null)} title={<Text fw={600}>{question.title}</Text>} size="md">
      <form onSubmit={submit}>
        <Stack gap="md">
          {question.body && <Text size="sm">{question.body}</Text>}
          {question.typed && (
            <TextInput
              label={
                <>
                  {t('kit.typeToConfirm')} <Code>{question.typed}</Code>
                </>
              }
              value={typed}
              onChange={(event) => setTyped(event.currentTarget.value)}
              autoComplete="off"
              data-autofocus
            />
          )}
          {question.reason && (
            <Textarea
              label={question.reason === 'required' ? t('kit.reason') : t('kit.reasonOptional')}
              required={question.reason === 'required'}
              value={reason}
              onChange={(event) => setReason(event.currentTarget.value)}
              autosize
              minRows={2}
              maxLength={1000}
              {...(question.typed ? {} : { 'data-autofocus': true })}
            />
          )}
          <Group justify="flex-end" gap="sm">
            <Button variant="default" onClick={() => onClose(null)}>
              {t('kit.cancel')}
            </Button>
            <Button type="submit" color={question.danger ? 'red' : undefined} disabled={!ready} {...(question.typed || question.reason ? {} : { 'data-autofocus': true })}>
              {question.confirm}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
