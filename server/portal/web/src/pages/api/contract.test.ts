import { describe, expect, test } from 'vitest';
import { curl, example, operationsOf, typeText, type Contract } from './contract';

const contract: Contract = {
  info: { title: 'Test', version: '1' },
  paths: {
    '/things/{id}': {
      patch: {
        operationId: 'updateThing',
        tags: ['things'],
        parameters: [{ $ref: '#/components/parameters/Id', name: '', in: 'path' }],
        requestBody: { content: { 'application/json': { schema: { $ref: '#/components/schemas/ThingUpdate' } } } },
        responses: { '200': { description: 'Done', content: { 'application/json': { schema: { $ref: '#/components/schemas/Thing' } } } }, '404': { $ref: '#/components/responses/NotFound' } },
      },
      get: { operationId: 'getThing', tags: ['things'], responses: {}, security: [] },
    },
  },
  components: {
    parameters: { Id: { name: 'id', in: 'path', required: true, schema: { type: 'string', format: 'uuid' } } },
    responses: { NotFound: { description: 'No such thing' } },
    schemas: {
      ThingUpdate: { type: 'object', required: ['version', 'name'], properties: { version: { type: 'integer', minimum: 3 }, name: { type: 'string' }, note: { type: 'string' }, secret: { type: 'string', readOnly: true } } },
      Thing: { type: 'object', properties: { state: { $ref: '#/components/schemas/State' }, parent: { allOf: [{ $ref: '#/components/schemas/Thing' }], nullable: true }, tags: { type: 'array', items: { type: 'string' } } } },
      State: { type: 'string', enum: ['on', 'off'] },
    },
  },
};

const [patch, get] = operationsOf(contract);

describe('operations', () => {
  test('follow references of parameters and answers', () => {
    expect(patch?.parameters[0]?.name).toBe('id');
    expect(patch?.answers[1]).toMatchObject({ status: '404', description: 'No such thing' });
  });

  test('say whether a sign-in is needed', () => {
    expect(patch?.open).toBe(false);
    expect(get?.open).toBe(true);
  });
});

describe('an example', () => {
  test('of a request holds what must be there', () => {
    expect(example(contract, { $ref: '#/components/schemas/ThingUpdate' }, true)).toEqual({ version: 3, name: 'text' });
  });

  test('of a schema that holds itself comes to an end', () => {
    expect(JSON.stringify(example(contract, { $ref: '#/components/schemas/Thing' }, false)).length).toBeLessThan(400);
  });
});

test('types are named as a reader knows them', () => {
  const properties = contract.components.schemas.Thing?.properties ?? {};
  expect(typeText(contract, properties.parent ?? {})).toBe('Thing | null');
  expect(typeText(contract, properties.tags ?? {})).toBe('string[]');
  expect(typeText(contract, { type: 'string', format: 'uuid' })).toBe('string (uuid)');
});

test('the curl line quotes its body for the shell', () => {
  const line = curl(contract, { ...patch!, body: { type: 'object', required: ['who'], properties: { who: { type: 'string', enum: ["it's"] } } } }, 'https://reeve.example');
  expect(line).toContain(`"who": "it'\\''s"`);
  expect(line).toContain('"https://reeve.example/things/$ID"');
  expect(curl(contract, get!, '')).not.toContain('Authorization');
});
