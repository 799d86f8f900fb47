import type { ComponentType } from 'react';

/** The pages of clients and administration: where they are, and how they are loaded. */
export const adminPages: [path: string, load: () => Promise<{ Component: ComponentType }>][] = [
  ['/tenants', () => import('../pages/tenants/TenantsPage')],
  ['/tenants/:id', () => import('../pages/tenants/TenantPage')],
  ['/enrolment', () => import('../pages/enrolment/EnrolmentPage')],
  ['/users', () => import('../pages/users/UsersPage')],
  ['/users/:id', () => import('../pages/users/UserPage')],
  ['/keys', () => import('../pages/users/ApiKeysPage')],
  ['/policies', () => import('../pages/policies/PoliciesPage')],
  ['/custom-fields', () => import('../pages/settings/CustomFieldsPage')],
  ['/approvals', () => import('../pages/approvals/ApprovalsPage')],
  ['/approvals/:id', () => import('../pages/approvals/ApprovalPage')],
  ['/audit', () => import('../pages/audit/AuditPage')],
  ['/settings', () => import('../pages/settings/SettingsPage')],
  ['/reference', () => import('../pages/api/ApiPage')],
];
