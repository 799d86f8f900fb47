import {
  IconApi, IconBuilding, IconCalendarTime, IconChecklist, IconClipboardText, IconDevices2, IconFileCode, IconForms, IconGauge, IconKey, IconListDetails, IconPlugConnected, IconSettings, IconShieldCheck, IconUsers, type Icon,
} from '@tabler/icons-react';
import type { MessageKey } from '../messages/t';

export type NavItem = { to: string; label: MessageKey; icon: Icon; /** Any of these permissions shows it. */ needs?: string[] };
export type NavGroup = { label?: MessageKey; items: NavItem[] };

/** The navigation, in the order a technician works. */
export const navigation: NavGroup[] = [
  {
    items: [
      { to: '/', label: 'nav.dashboard', icon: IconGauge },
      { to: '/devices', label: 'nav.devices', icon: IconDevices2, needs: ['devices.read'] },
      { to: '/jobs', label: 'nav.jobs', icon: IconListDetails, needs: ['jobs.read'] },
      { to: '/schedules', label: 'nav.schedules', icon: IconCalendarTime, needs: ['schedules.read'] },
      { to: '/scripts', label: 'nav.scripts', icon: IconFileCode, needs: ['scripts.read'] },
    ],
  },
  {
    label: 'nav.clients',
    items: [
      { to: '/tenants', label: 'nav.tenants', icon: IconBuilding, needs: ['tenants.read'] },
      { to: '/enrolment', label: 'nav.enrolment', icon: IconPlugConnected, needs: ['devices.enrol'] },
    ],
  },
  {
    label: 'nav.admin',
    items: [
      { to: '/users', label: 'nav.users', icon: IconUsers, needs: ['users.read'] },
      { to: '/keys', label: 'nav.apiKeys', icon: IconKey, needs: ['api_keys.read'] },
      { to: '/policies', label: 'nav.policies', icon: IconShieldCheck, needs: ['policies.read'] },
      { to: '/custom-fields', label: 'nav.customFields', icon: IconForms, needs: ['custom_fields.read'] },
      { to: '/approvals', label: 'nav.approvals', icon: IconChecklist, needs: ['approvals.read'] },
      { to: '/audit', label: 'nav.audit', icon: IconClipboardText, needs: ['audit.read'] },
      { to: '/settings', label: 'nav.settings', icon: IconSettings, needs: ['settings.read'] },
      { to: '/reference', label: 'nav.api', icon: IconApi },
    ],
  },
];
