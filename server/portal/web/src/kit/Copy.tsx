import { ActionIcon, CopyButton as MantineCopy, Tooltip } from '@mantine/core';
import { IconCheck, IconCopy } from '@tabler/icons-react';
import { t } from '../messages/t';
import classes from './Copy.module.css';

export function CopyButton({ value, label = t('kit.copy') }: { value: string; label?: string }) {
  return (
    <MantineCopy value={value} timeout={1500}>
      {({ copied, copy }) => (
        <Tooltip label={copied ? t('kit.copied') : label}>
          <ActionIcon onClick={copy} aria-label={label} size="sm" color={copied ? 'teal' : 'gray'}>
            {copied ? <IconCheck size={15} /> : <IconCopy size={15} />}
          </ActionIcon>
        </Tooltip>
      )}
    </MantineCopy>
  );
}

/** A line or text to take away, with its copy button. */
export function CodeBlock({ code, label, maxHeight = 320 }: { code: string; label?: string; maxHeight?: number }) {
  return (
    <div className={classes.block}>
      <pre className={classes.code} style={{ maxHeight }} tabIndex={0} aria-label={label}>
        {code}
      </pre>
      <div className={classes.copy}>
        <CopyButton value={code} />
      </div>
    </div>
  );
}
