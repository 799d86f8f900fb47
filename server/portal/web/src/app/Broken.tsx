import { Button } from '@mantine/core';
import { IconMapOff } from '@tabler/icons-react';
import { Link, useRouteError } from 'react-router';
import { t } from '../messages/t';
import { EmptyState, ErrorState } from '../kit/States';
import { Page } from '../kit/Page';

/** A page that threw: say so instead of a white screen. */
export function Broken() {
  const error = useRouteError();
  return (
    <Page title={t('errors.page')}>
      <ErrorState error={error} retry={() => window.location.reload()} />
    </Page>
  );
}

export function NotFound() {
  return (
    <Page title={t('errors.notFound')}>
      <EmptyState
        icon={IconMapOff}
        title={t('errors.notFound')}
        action={
          <Button variant="default" component={Link} to="/">
            {t('errors.home')}
          </Button>
        }
      >
        {t('errors.notFoundHint')}
      </EmptyState>
    </Page>
  );
}
