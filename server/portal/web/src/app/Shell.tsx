import { Alert, AppShell, Burger, Button, Center, Group, Loader, NavLink as MantineNavLink, ScrollArea, Text, UnstyledButton } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { spotlight } from '@mantine/spotlight';
import { IconAlertOctagon, IconSearch } from '@tabler/icons-react';
import { useQueryClient } from '@tanstack/react-query';
import { Suspense, useEffect, useSyncExternalStore } from 'react';
import { Navigate, NavLink, Outlet, useLocation } from 'react-router';
import { api, ok, session } from '../api/client';
import { ConfirmProvider } from '../kit/Confirm';
import { StepUpProvider } from '../kit/StepUp';
import { ErrorState } from '../kit/States';
import { exactTime } from '../kit/format';
import { useAct } from '../kit/useAct';
import { setLocale, t } from '../messages/t';
import { Logo } from './Logo';
import { MeContext, useMe, useMeQuery } from './me';
import { navigation } from './navigation';
import { Palette } from './Palette';
import { TenantPicker } from './TenantPicker';
import { useKeepTenant } from './tenant';
import { UserMenu } from './UserMenu';
import classes from './Shell.module.css';

/** Everything behind the sign-in: navigation, header, and the page. */
export function Shell() {
  const state = useSyncExternalStore(session.subscribe, session.snapshot);
  const { pathname, search } = useLocation();
  const me = useMeQuery(state === 'signed-in');

  if (state === 'signed-out') {
    const next = pathname + search;
    return <Navigate to={next === '/' ? '/sign-in' : `/sign-in?next=${encodeURIComponent(next)}`} replace />;
  }
  if (me.isError) return <ErrorState error={me.error} retry={() => void me.refetch()} />;
  if (state === 'starting' || !me.data) {
    return (
      <Center h="100dvh">
        <Loader type="dots" aria-label={t('kit.loading')} />
      </Center>
    );
  }
  setLocale(me.data.locale);
  const restricted = me.data.second_factor_setup_required && pathname !== '/profile';
  return (
    <MeContext.Provider value={me.data}>
      <StepUpProvider>
        <ConfirmProvider>{restricted ? <Navigate to="/profile?tab=security" replace /> : <Frame />}</ConfirmProvider>
      </StepUpProvider>
    </MeContext.Provider>
  );
}

function Frame() {
  const [opened, { toggle, close }] = useDisclosure();
  const { pathname } = useLocation();
  const { emergency } = useMe();
  useEffect(close, [pathname, close]);

  return (
    <AppShell header={{ height: 'var(--reeve-header)' }} navbar={{ width: 222, breakpoint: 'sm', collapsed: { mobile: !opened } }} padding={0}>
      <AppShell.Header className={classes.header}>
        <Group h="100%" px="md" gap="sm" wrap="nowrap">
          <Burger opened={opened} onClick={toggle} hiddenFrom="sm" size="sm" aria-label={t('nav.open')} />
          <a href="#main" className={classes.skip}>
            {t('nav.skip')}
          </a>
          <div className={classes.brand}>
            <Logo />
          </div>
          <TenantPicker />
          <div style={{ flex: 1 }} />
          <UnstyledButton className={classes.search} onClick={() => spotlight.open()} aria-label={t('nav.find')} title={`${t('nav.find')} (Ctrl K)`}>
            <IconSearch size={15} aria-hidden />
            <Text span size="xs" visibleFrom="md">
              {t('nav.find')}
            </Text>
            <kbd className={classes.kbd}>Ctrl K</kbd>
          </UnstyledButton>
          <UserMenu />
        </Group>
      </AppShell.Header>
      <AppShell.Navbar className={classes.navbar}>
        <AppShell.Section grow component={ScrollArea} scrollbarSize={6}>
          <Navigation />
        </AppShell.Section>
      </AppShell.Navbar>
      <AppShell.Main id="main" tabIndex={-1} className={classes.main}>
        {emergency && <EmergencyBar />}
        <Suspense>
          <Outlet />
        </Suspense>
      </AppShell.Main>
      <Palette />
    </AppShell>
  );
}

function Navigation() {
  const keep = useKeepTenant();
  const { permissions } = useMe();
  const { pathname } = useLocation();
  const groups = navigation
    .map((group) => ({ ...group, items: group.items.filter((item) => !item.needs || item.needs.some((each) => permissions.includes(each))) }))
    .filter((group) => group.items.length > 0);

  return (
    <nav aria-label={t('nav.label')} className={classes.nav}>
      {groups.map((group, i) => (
        <div key={group.label ?? i} className={classes.navGroup}>
          {group.label && <div className={classes.navLabel}>{t(group.label)}</div>}
          {group.items.map((item) => {
            const active = item.to === '/' ? pathname === '/' : pathname === item.to || pathname.startsWith(`${item.to}/`);
            return (
              <MantineNavLink
                key={item.to}
                component={NavLink}
                to={keep(item.to)}
                label={t(item.label)}
                leftSection={<item.icon size={17} stroke={1.6} aria-hidden />}
                active={active}
                aria-current={active ? 'page' : undefined}
                className={classes.navItem}
              />
            );
          })}
        </div>
      ))}
    </nav>
  );
}

function EmergencyBar() {
  const { emergency } = useMe();
  const client = useQueryClient();
  const { act, busy } = useAct('me');
  if (!emergency) return null;
  return (
    <Alert color="red" variant="filled" radius={0} py={6} icon={<IconAlertOctagon size={18} />}>
      <Group justify="space-between" gap="sm">
        <Text size="sm">{t('nav.emergency', { tenant: emergency.tenant_name, until: exactTime(emergency.expires_at) })}</Text>
        <Button variant="white" color="red" size="compact-xs" loading={busy} onClick={() => void act(() => ok(api.DELETE('/api/v1/auth/break-glass'))).then(() => client.invalidateQueries())}>
          {t('nav.endEmergency')}
        </Button>
      </Group>
    </Alert>
  );
}
