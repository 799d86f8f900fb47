import { Anchor, type AnchorProps } from '@mantine/core';
import type { ReactNode } from 'react';
import { Link as RouterLink } from 'react-router';
import { useKeepTenant } from '../app/tenant';

type Props = AnchorProps & { to: string; children: ReactNode; title?: string; onClick?: () => void };

/** A link within the portal; it keeps the chosen client. */
export function Link({ to, ...rest }: Props) {
  const keep = useKeepTenant();
  return <Anchor component={RouterLink} to={keep(to)} inherit {...rest} />;
}
