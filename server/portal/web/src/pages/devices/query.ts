import type { operations } from '../../api/schema.gen';
import type { UrlValues } from '../../kit/url';

type Query = NonNullable<operations['listDevices']['parameters']['query']>;

/** The filters of the list as the API takes them, from the address. */
export function deviceQuery(url: UrlValues, tenant: string | undefined): Query {
  const query: Record<string, string> = {};
  if (tenant) query.tenant_id = tenant;
  for (const key of ['q', 'presence', 'os_family', 'state', 'tag', 'site_id', 'filter', 'filter_id']) {
    const value = url[key];
    if (value) query[key] = value;
  }
  return query as Query;
}
