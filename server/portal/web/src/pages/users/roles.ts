import type { Schema } from '../../api/types';

export type RoleName = Schema<'RoleName'>;

export const STAFF_ROLES: RoleName[] = ['owner', 'administrator', 'technician', 'dispatcher', 'billing', 'auditor'];
export const CUSTOMER_ROLES: RoleName[] = ['customer_user', 'customer_accounting', 'customer_manager', 'customer_administrator'];
export const ROLES: RoleName[] = [...STAFF_ROLES, ...CUSTOMER_ROLES];
