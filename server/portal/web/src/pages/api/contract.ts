export type SchemaNode = {
  $ref?: string;
  type?: string;
  format?: string;
  description?: string;
  enum?: string[];
  nullable?: boolean;
  readOnly?: boolean;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  maxItems?: number;
  pattern?: string;
  default?: unknown;
  required?: string[];
  properties?: Record<string, SchemaNode>;
  additionalProperties?: boolean | SchemaNode;
  items?: SchemaNode;
  allOf?: SchemaNode[];
};

export type Parameter = { $ref?: string; name: string; in: 'path' | 'query' | 'header'; required?: boolean; description?: string; schema?: SchemaNode };
type Media = Record<string, { schema?: SchemaNode }>;
type Answer = { $ref?: string; description?: string; content?: Media };
type RawOperation = { operationId: string; tags?: string[]; summary?: string; description?: string; parameters?: Parameter[]; requestBody?: { required?: boolean; content: Media }; responses: Record<string, Answer>; security?: unknown[] };

/** What is used of an OpenAPI 3.0 document. */
export type Contract = {
  info: { title: string; version: string; description?: string };
  tags?: { name: string; description?: string }[];
  paths: Record<string, Record<string, RawOperation>>;
  components: { schemas: Record<string, SchemaNode>; parameters?: Record<string, Parameter>; responses?: Record<string, Answer> };
};

export type Operation = {
  id: string;
  method: string;
  path: string;
  tag: string;
  summary: string;
  description: string;
  open: boolean;
  parameters: Parameter[];
  body?: SchemaNode;
  answers: { status: string; description: string; media: string; schema?: SchemaNode }[];
};

const nameOf = (ref: string) => ref.slice(ref.lastIndexOf('/') + 1);

/** The operations in the order of the document. */
export function operationsOf(contract: Contract): Operation[] {
  return Object.entries(contract.paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([, raw]) => typeof raw === 'object' && 'operationId' in raw)
      .map(([method, raw]) => operationOf(contract, path, method, raw)),
  );
}

function operationOf({ components }: Contract, path: string, method: string, raw: RawOperation): Operation {
  const [body] = Object.values(raw.requestBody?.content ?? {});
  return {
    id: raw.operationId,
    method: method.toUpperCase(),
    path,
    tag: raw.tags?.[0] ?? '',
    summary: raw.summary ?? raw.operationId,
    description: raw.description ?? '',
    open: raw.security?.length === 0,
    parameters: (raw.parameters ?? []).map((each) => (each.$ref ? (components.parameters?.[nameOf(each.$ref)] ?? each) : each)),
    ...(body?.schema ? { body: body.schema } : {}),
    answers: Object.entries(raw.responses).map(([status, each]) => {
      const answer = each.$ref ? (components.responses?.[nameOf(each.$ref)] ?? each) : each;
      const [first] = Object.entries(answer.content ?? {});
      return { status, description: answer.description ?? '', media: first?.[0] ?? '', ...(first?.[1].schema ? { schema: first[1].schema } : {}) };
    }),
  };
}

/** A schema with its name: references are followed, and `allOf` of one (which carries `nullable`) is that one. */
export function resolve(contract: Contract, node: SchemaNode): { name?: string; schema: SchemaNode } {
  if (node.$ref) {
    const name = nameOf(node.$ref);
    return { name, schema: contract.components.schemas[name] ?? {} };
  }
  if (node.allOf?.length === 1 && node.allOf[0]) {
    const inner = resolve(contract, node.allOf[0]);
    return { ...inner, schema: { ...inner.schema, ...(node.nullable ? { nullable: true } : {}), ...(node.description ? { description: node.description } : {}) } };
  }
  return { schema: node };
}

/** The type of a value in words: "array of Device", "string (uuid)". */
export function typeText(contract: Contract, node: SchemaNode): string {
  const { name, schema } = resolve(contract, node);
  const or = schema.nullable ? ' | null' : '';
  if (schema.type === 'array') return `${typeText(contract, schema.items ?? {})}[]${or}`;
  if (name && (schema.properties || schema.enum)) return name + or;
  if (schema.type === 'object' && typeof schema.additionalProperties === 'object') return `{ [key]: ${typeText(contract, schema.additionalProperties)} }${or}`;
  const base = schema.type ?? 'any';
  return (schema.format ? `${base} (${schema.format})` : base) + or;
}

/** The limits of a value, for those who must keep to them. */
export function limits(schema: SchemaNode): string {
  const span = (low: number | undefined, high: number | undefined) => (low === undefined && high === undefined ? [] : [`${low ?? ''}…${high ?? ''}`]);
  return [
    ...span(schema.minimum, schema.maximum),
    ...span(schema.minLength, schema.maxLength).map((each) => `${each} chars`),
    ...(schema.maxItems === undefined ? [] : [`≤ ${schema.maxItems} items`]),
    ...(schema.pattern ? [schema.pattern] : []),
    ...(schema.default === undefined ? [] : [`= ${JSON.stringify(schema.default)}`]),
  ].join(' · ');
}

const DEPTH = 5;

const FORMATS: Record<string, string> = {
  uuid: '01930000-0000-7000-8000-0000000000aa',
  'date-time': '2025-06-10T02:00:00Z',
  date: '2025-06-10',
  email: 'ann@example.com',
  byte: 'AAECAw==',
};

/** A value that fits the schema; what only the server writes is left out of requests. */
export function example(contract: Contract, node: SchemaNode, request: boolean, depth = 0): unknown {
  const { schema } = resolve(contract, node);
  if (schema.default !== undefined) return schema.default;
  if (schema.enum) return schema.enum[0];
  switch (schema.type) {
    case 'object':
      return exampleObject(contract, schema, request, depth);
    case 'array':
      return depth >= DEPTH || !schema.items ? [] : [example(contract, schema.items, request, depth + 1)];
    case 'integer':
    case 'number':
      return schema.minimum ?? 1;
    case 'boolean':
      return true;
    case 'string':
      return FORMATS[schema.format ?? ''] ?? 'text'.padEnd(Math.min(schema.minLength ?? 0, 40), '.');
    default:
      return null;
  }
}

function exampleObject(contract: Contract, schema: SchemaNode, request: boolean, depth: number): Record<string, unknown> {
  if (depth >= DEPTH) return {};
  const found: Record<string, unknown> = {};
  // In a request one reads what must be there first; an object with nothing that must shows its first choice.
  const names = Object.keys(schema.properties ?? {}).filter((name) => !request || schema.required?.includes(name));
  const chosen = names.length > 0 ? names : Object.keys(schema.properties ?? {}).slice(0, 1);
  for (const name of chosen) {
    const property = schema.properties?.[name];
    if (!property || (request && property.readOnly)) continue;
    found[name] = example(contract, property, request, depth + 1);
  }
  return found;
}

/** A line for the shell that calls the operation. */
export function curl(contract: Contract, operation: Operation, origin: string): string {
  const path = operation.path.replace(/\{(\w+)\}/g, (_, name: string) => `$${name.toUpperCase()}`);
  const needed = operation.parameters.filter((each) => each.in === 'query' && each.required).map((each) => `${each.name}=$${each.name.toUpperCase()}`);
  const url = origin + path + (needed.length > 0 ? `?${needed.join('&')}` : '');
  const parts = [operation.method === 'GET' ? 'curl' : `curl -X ${operation.method}`];
  if (!operation.open) parts.push('-H "Authorization: Bearer $REEVE_TOKEN"');
  if (operation.body) {
    const body = JSON.stringify(example(contract, operation.body, true), null, 2).replaceAll("'", "'\\''");
    parts.push("-H 'Content-Type: application/json'", `-d '${body}'`);
  }
  parts.push(`"${url}"`);
  return parts.join(' \\\n  ');
}
