package rest

import (
	"context"

	"github.com/google/uuid"

	. "reeve/api"
	"reeve/server/notify"
	"reeve/tenants"
	"reeve/tenants/scope"
)

// settingsHandlers serve settings and custom fields.
type settingsHandlers struct {
	settings *tenants.Settings
	fields   *tenants.CustomFields
	mailer   *notify.Mailer
}

func (h settingsHandlers) GetProviderSettings(ctx context.Context, _ GetProviderSettingsRequestObject) (GetProviderSettingsResponseObject, error) {
	d, err := h.settings.ReadProvider(ctx)
	if err != nil {
		return nil, err
	}
	return GetProviderSettings200JSONResponse(providerOut(d)), nil
}

func (h settingsHandlers) PutProviderSettings(ctx context.Context, r PutProviderSettingsRequestObject) (PutProviderSettingsResponseObject, error) {
	v := r.Body.Value
	d, err := h.settings.PutProvider(ctx, tenants.Document[tenants.ProviderSpec]{Version: int64(r.Body.Version), Value: tenants.ProviderSpec{
		Name: v.Name, Zone: v.Zone, Locale: v.Locale, SupportEmail: value(v.SupportEmail), SupportPhone: value(v.SupportPhone)}})
	if err != nil {
		return nil, err
	}
	return PutProviderSettings200JSONResponse(providerOut(d)), nil
}

func (h settingsHandlers) GetSecuritySettings(ctx context.Context, _ GetSecuritySettingsRequestObject) (GetSecuritySettingsResponseObject, error) {
	d, err := h.settings.ReadSecurity(ctx)
	if err != nil {
		return nil, err
	}
	return GetSecuritySettings200JSONResponse(securityOut(d)), nil
}

func (h settingsHandlers) PutSecuritySettings(ctx context.Context, r PutSecuritySettingsRequestObject) (PutSecuritySettingsResponseObject, error) {
	v := r.Body.Value
	d, err := h.settings.PutSecurity(ctx, tenants.Document[tenants.SecuritySpec]{Version: int64(r.Body.Version), Value: tenants.SecuritySpec{
		SecondFactorRequiredRoles: each(v.SecondFactorRequiredRoles, func(r RoleName) string { return string(r) }), PasswordMinLength: v.PasswordMinLength,
		SessionIdleHours: v.SessionIdleHours, SessionMaxDays: v.SessionMaxDays, StepUpMinutes: v.StepUpMinutes}})
	if err != nil {
		return nil, err
	}
	return PutSecuritySettings200JSONResponse(securityOut(d)), nil
}

func (h settingsHandlers) GetMailSettings(ctx context.Context, _ GetMailSettingsRequestObject) (GetMailSettingsResponseObject, error) {
	d, err := h.settings.ReadMail(ctx)
	if err != nil {
		return nil, err
	}
	return GetMailSettings200JSONResponse(mailOut(d)), nil
}

func (h settingsHandlers) PutMailSettings(ctx context.Context, r PutMailSettingsRequestObject) (PutMailSettingsResponseObject, error) {
	v := r.Body.Value
	d, err := h.settings.PutMail(ctx, int64(r.Body.Version), tenants.MailChange{Password: v.Password, MailSpec: tenants.MailSpec{
		Host: v.Host, Port: v.Port, Security: tenants.MailSecurity(v.Security), Username: v.Username, From: v.From, FromName: value(v.FromName)}})
	if err != nil {
		return nil, err
	}
	return PutMailSettings200JSONResponse(mailOut(d)), nil
}

func (h settingsHandlers) TestMail(ctx context.Context, r TestMailRequestObject) (TestMailResponseObject, error) {
	result, err := h.mailer.Test(ctx, string(r.Body.To))
	if err != nil {
		return nil, err
	}
	return TestMail200JSONResponse{Delivered: result.Delivered, Detail: result.Detail}, nil
}

func (h settingsHandlers) GetJobSettings(ctx context.Context, r GetJobSettingsRequestObject) (GetJobSettingsResponseObject, error) {
	d, err := h.settings.ReadJobs(ctx, orProvider(r.Params.TenantID))
	if err != nil {
		return nil, err
	}
	return GetJobSettings200JSONResponse(jobSettingsOut(d)), nil
}

func (h settingsHandlers) PutJobSettings(ctx context.Context, r PutJobSettingsRequestObject) (PutJobSettingsResponseObject, error) {
	v := r.Body.Value
	d, err := h.settings.PutJobs(ctx, orProvider(r.Params.TenantID), tenants.Document[tenants.JobSpec]{Version: int64(r.Body.Version), Value: tenants.JobSpec{
		MaxDevices: v.MaxDevices, MaxTenants: v.MaxTenants, CanaryPercent: v.CanaryPercent, StopFailurePercent: v.StopFailurePercent}})
	if err != nil {
		return nil, err
	}
	return PutJobSettings200JSONResponse(jobSettingsOut(d)), nil
}

func (h settingsHandlers) ListCustomFields(ctx context.Context, r ListCustomFieldsRequestObject) (ListCustomFieldsResponseObject, error) {
	p := r.Params
	page, next, err := h.fields.List(ctx, tenants.FieldFilter{TenantID: p.TenantID, AppliesTo: (*tenants.ObjectType)(p.AppliesTo)}, value(p.Cursor), value(p.Limit))
	if err != nil {
		return nil, err
	}
	return ListCustomFields200JSONResponse{Items: each(page, fieldOut), NextCursor: optional(next)}, nil
}

func (h settingsHandlers) CreateCustomField(ctx context.Context, r CreateCustomFieldRequestObject) (CreateCustomFieldResponseObject, error) {
	b := r.Body
	f, err := h.fields.Define(ctx, tenants.NewField{TenantID: orProvider(b.TenantID), Key: b.Key, Label: b.Label, AppliesTo: tenants.ObjectType(b.AppliesTo),
		Type: tenants.FieldType(b.Type), Options: value(b.Options), Description: value(b.Description)})
	if err != nil {
		return nil, err
	}
	return CreateCustomField201JSONResponse(fieldOut(f)), nil
}

func (h settingsHandlers) UpdateCustomField(ctx context.Context, r UpdateCustomFieldRequestObject) (UpdateCustomFieldResponseObject, error) {
	b := r.Body
	f, err := h.fields.Change(ctx, r.ID, tenants.FieldChange{Version: int64(b.Version), Label: b.Label, Options: b.Options, Description: b.Description})
	if err != nil {
		return nil, err
	}
	return UpdateCustomField200JSONResponse(fieldOut(f)), nil
}

func (h settingsHandlers) DeleteCustomField(ctx context.Context, r DeleteCustomFieldRequestObject) (DeleteCustomFieldResponseObject, error) {
	if err := h.fields.Delete(ctx, r.ID); err != nil {
		return nil, err
	}
	return DeleteCustomField204Response{}, nil
}

func (h settingsHandlers) GetCustomFieldValues(ctx context.Context, r GetCustomFieldValuesRequestObject) (GetCustomFieldValuesResponseObject, error) {
	values, err := h.fields.Values(ctx, tenants.Object{Type: tenants.ObjectType(r.ObjectType), ID: r.ObjectID})
	if err != nil {
		return nil, err
	}
	return GetCustomFieldValues200JSONResponse{Items: each(values, fieldValueOut)}, nil
}

func (h settingsHandlers) SetCustomFieldValues(ctx context.Context, r SetCustomFieldValuesRequestObject) (SetCustomFieldValuesResponseObject, error) {
	values, err := h.fields.SetValues(ctx, tenants.Object{Type: tenants.ObjectType(r.ObjectType), ID: r.ObjectID}, r.Body.Values)
	if err != nil {
		return nil, err
	}
	return SetCustomFieldValues200JSONResponse{Items: each(values, fieldValueOut)}, nil
}

// orProvider is the tenant that is meant when none is named.
func orProvider(id *uuid.UUID) uuid.UUID {
	if id == nil {
		return scope.Provider
	}
	return *id
}

func providerOut(d tenants.Document[tenants.ProviderSpec]) ProviderSettingsDocument {
	v := d.Value
	return ProviderSettingsDocument{Version: int(d.Version), Value: ProviderSettings{Name: v.Name, Zone: v.Zone, Locale: v.Locale,
		SupportEmail: &v.SupportEmail, SupportPhone: &v.SupportPhone}}
}

func securityOut(d tenants.Document[tenants.SecuritySpec]) SecuritySettingsDocument {
	v := d.Value
	return SecuritySettingsDocument{Version: int(d.Version), Value: SecuritySettings{
		SecondFactorRequiredRoles: each(v.SecondFactorRequiredRoles, func(r string) RoleName { return RoleName(r) }),
		PasswordMinLength:         v.PasswordMinLength, SessionIdleHours: v.SessionIdleHours, SessionMaxDays: v.SessionMaxDays, StepUpMinutes: v.StepUpMinutes}}
}

// mailOut never shows the password, not even sealed.
func mailOut(d tenants.Document[tenants.MailSpec]) MailSettingsDocument {
	v, set := d.Value, d.Value.PasswordSet()
	return MailSettingsDocument{Version: int(d.Version), Value: MailSettings{Host: v.Host, Port: v.Port, Security: MailSettingsSecurity(v.Security),
		Username: v.Username, PasswordSet: &set, From: v.From, FromName: &v.FromName}}
}

func jobSettingsOut(d tenants.Document[tenants.JobSpec]) JobSettingsDocument {
	v := d.Value
	return JobSettingsDocument{Version: int(d.Version), Inherited: d.Inherited, Value: JobSettings{MaxDevices: v.MaxDevices, MaxTenants: v.MaxTenants,
		CanaryPercent: v.CanaryPercent, StopFailurePercent: v.StopFailurePercent}}
}

func fieldOut(f tenants.Field) CustomField {
	return CustomField{ID: f.ID, TenantID: f.TenantID, Key: f.Key, Label: f.Label, AppliesTo: CustomFieldAppliesTo(f.AppliesTo),
		Type: CustomFieldType(f.Type), Options: list(f.Options), Description: f.Description, Version: int(f.Version), CreatedAt: f.CreatedAt}
}

func fieldValueOut(v tenants.Value) CustomFieldValue {
	return CustomFieldValue{FieldID: v.Field.ID, Key: v.Field.Key, Label: v.Field.Label, Type: CustomFieldType(v.Field.Type), Options: list(v.Field.Options),
		Value: v.Value, IsSet: v.Set}
}
