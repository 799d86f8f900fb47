import { ActionIcon, Group, SegmentedControl, Text, Tooltip } from '@mantine/core';
import { IconArrowBarToDown, IconDownload, IconTextWrap } from '@tabler/icons-react';
import { useVirtualizer } from '@tanstack/react-virtual';
import { useEffect, useMemo, useRef, useState } from 'react';
import { t } from '../messages/t';
import { CopyButton } from './Copy';
import { bytes } from './format';
import { plain, toLines, toSpans } from './safeText';
import classes from './OutputView.module.css';

type Props = {
  stdout: string;
  stderr: string;
  stdoutBytes?: number;
  stderrBytes?: number;
  truncated?: boolean;
  /** More may come: shows a cursor and follows the end. */
  live?: boolean;
  /** Name of the saved file. */
  name: string;
  height?: number | string;
};

type Stream = 'stdout' | 'stderr';

/** What a script printed, as a terminal would show it; nothing in it is obeyed but colours. */
export function OutputView({ stdout, stderr, stdoutBytes, stderrBytes, truncated, live, name, height = 420 }: Props) {
  const [chosen, setChosen] = useState<Stream | null>(null);
  const [wrap, setWrap] = useState(true);
  // An error is what one wants to see first when nothing else was printed.
  const stream: Stream = chosen ?? (stdout === '' && stderr !== '' ? 'stderr' : 'stdout');
  const text = stream === 'stdout' ? stdout : stderr;

  return (
    <div className={classes.frame}>
      <Group justify="space-between" gap="xs" className={classes.bar} wrap="nowrap">
        <Group gap="sm" wrap="nowrap">
          <SegmentedControl value={stream} onChange={(value) => setChosen(value as Stream)} aria-label={t('kit.stream')} data={['stdout', 'stderr']} />
          <Text size="xs" c="dimmed" className="tnum">
            {sizeOf(stdoutBytes, stdout)} / {sizeOf(stderrBytes, stderr)}
          </Text>
        </Group>
        <Group gap={4} wrap="nowrap">
          {truncated && (
            <Text size="xs" c="dimmed" visibleFrom="xs">
              {t('kit.outputTruncated')}
            </Text>
          )}
          <Tooltip label={t('kit.wrap')}>
            <ActionIcon size="sm" aria-label={t('kit.wrap')} aria-pressed={wrap} variant={wrap ? 'light' : 'subtle'} onClick={() => setWrap(!wrap)}>
              <IconTextWrap size={15} />
            </ActionIcon>
          </Tooltip>
          <Tooltip label={t('kit.saveOutput')}>
            <ActionIcon size="sm" aria-label={t('kit.saveOutput')} onClick={() => save(text, `${name}.${stream}.txt`)} disabled={text === ''}>
              <IconDownload size={15} />
            </ActionIcon>
          </Tooltip>
          <CopyButton value={plain(text)} label={t('kit.copyOutput')} />
        </Group>
      </Group>
      <Lines key={stream} text={text} wrap={wrap} live={live ?? false} height={height} label={stream} />
    </div>
  );
}

const sizeOf = (known: number | undefined, text: string) => bytes(known ?? text.length);

function Lines({ text, wrap, live, height, label }: { text: string; wrap: boolean; live: boolean; height: number | string; label: string }) {
  const scroller = useRef<HTMLDivElement>(null);
  const [following, setFollowing] = useState(true);
  const lines = useMemo(() => toLines(text), [text]);
  const virtual = useVirtualizer({
    count: lines.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => 18,
    overscan: 30,
  });

  useEffect(() => {
    if (live && following && lines.length > 0) virtual.scrollToIndex(lines.length - 1, { align: 'end' });
  }, [live, following, lines.length, virtual]);

  function onScroll() {
    const element = scroller.current;
    if (element) setFollowing(element.scrollHeight - element.scrollTop - element.clientHeight < 24);
  }

  const shown = virtual.getVirtualItems();
  return (
    <div className={classes.screenFrame}>
      <div ref={scroller} className={classes.screen} style={{ maxHeight: height }} onScroll={onScroll} tabIndex={0} role="log" aria-label={label} aria-live="off" data-wrap={wrap || undefined} dir="ltr">
        {lines.length === 0 && <div className={classes.nothing}>{live ? t('kit.outputWaiting') : t('kit.outputNone')}</div>}
        <div style={{ height: virtual.getTotalSize(), position: 'relative' }}>
          <div style={{ transform: `translateY(${shown[0]?.start ?? 0}px)` }}>
            {shown.map((item) => (
              <div key={item.key} data-index={item.index} ref={virtual.measureElement} className={classes.line}>
                <Line text={lines[item.index] ?? ''} />
              </div>
            ))}
          </div>
        </div>
        {live && <span className={classes.cursor} aria-hidden />}
      </div>
      {live && !following && (
        <ActionIcon className={classes.follow} variant="filled" color="ink" aria-label={t('kit.follow')} onClick={() => setFollowing(true)}>
          <IconArrowBarToDown size={16} />
        </ActionIcon>
      )}
    </div>
  );
}

function Line({ text }: { text: string }) {
  const spans = useMemo(() => toSpans(text), [text]);
  if (spans.length === 0) return <>{'\u00a0'}</>;
  return spans.map((span, i) => (
    <span key={i} data-colour={span.colour} data-bold={span.bold || undefined} data-dim={span.dim || undefined} className={classes.span}>
      {span.text}
    </span>
  ));
}

function save(text: string, name: string) {
  const address = URL.createObjectURL(new Blob([text], { type: 'text/plain;charset=utf-8' }));
  const link = document.createElement('a');
  link.href = address;
  link.download = name;
  link.click();
  URL.revokeObjectURL(address);
}
