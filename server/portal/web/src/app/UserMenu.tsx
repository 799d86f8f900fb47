import { Avatar, Menu, SegmentedControl, Text, UnstyledButton, useMantineColorScheme, type MantineColorScheme } from '@mantine/core';
import { IconLogout, IconUser } from '@tabler/icons-react';
import { session } from '../api/client';
import { t } from '../messages/t';
import { useMe } from './me';
import { useGo } from './tenant';

export function UserMenu() {
  const me = useMe();
  const go = useGo();
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  return (
    <Menu width={250} closeOnItemClick>
      <Menu.Target>
        <UnstyledButton aria-label={t('nav.userMenu', { name: me.name })} style={{ borderRadius: '50%', flex: 'none' }}>
          <Avatar size={30} color="ink" name={me.name || me.email} />
        </UnstyledButton>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>
          <Text size="sm" fw={600} c="var(--mantine-color-text)" className="truncate">
            {me.name}
          </Text>
          <Text size="xs" className="truncate">
            {me.email}
          </Text>
        </Menu.Label>
        <Menu.Item leftSection={<IconUser size={16} />} onClick={() => go('/profile')}>
          {t('nav.profile')}
        </Menu.Item>
        <Menu.Divider />
        <Menu.Label>{t('nav.theme')}</Menu.Label>
        <SegmentedControl
          fullWidth
          mx="xs"
          mb="xs"
          w="calc(100% - 1rem)"
          aria-label={t('nav.theme')}
          value={colorScheme}
          onChange={(value) => setColorScheme(value as MantineColorScheme)}
          data={[
            { value: 'auto', label: t('nav.themeAuto') },
            { value: 'light', label: t('nav.themeLight') },
            { value: 'dark', label: t('nav.themeDark') },
          ]}
        />
        <Menu.Divider />
        <Menu.Item leftSection={<IconLogout size={16} />} onClick={() => void session.logout()}>
          {t('nav.signOut')}
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
