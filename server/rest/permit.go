package rest

// Access says who may call an operation at all.
type Access int

const (
	// Permitted operations need a permission over at least one tenant; the service then checks it
	// over the tenant of the object at hand.
	Permitted Access = iota
	// Self operations concern the caller's own account.
	Self
	// Setup operations are Self and also open to a token that may only set up a second factor.
	Setup
	// Public operations need no token.
	Public
)

// Permit is a row of the permit table.
type Permit struct {
	Access     Access
	Permission string
	StepUp     bool // the caller must have confirmed their identity a short time ago
	People     bool // not for API keys: it concerns a person's own account, or credentials
}

func may(permission string) Permit { return Permit{Permission: permission} }

func (p Permit) stepUp() Permit { p.StepUp = true; return p }
func (p Permit) people() Permit { p.People = true; return p }

var (
	public = Permit{Access: Public}
	setup  = Permit{Access: Setup, People: true}
	self   = Permit{Access: Self, People: true}
)

// Permits is the whole of what is permitted: operation → who. An operation that is not here cannot
// be served; a test holds this table, the contract and the routes against each other.
var Permits = map[string]Permit{
	"login": public, "refreshSession": public, "requestPasswordReset": public, "completePasswordReset": public,
	"logout": setup, "getMe": setup, "beginTotp": setup, "confirmTotp": setup,
	"logoutEverywhere": self, "stepUp": self, "updateMe": self, "changePassword": self,
	"disableTotp": self.stepUp(), "regenerateRecoveryCodes": self.stepUp(),
	"listMySessions": self, "revokeMySession": self,
	"breakGlass": may("break_glass.use").stepUp().people(), "endBreakGlass": self,

	"listTenants": may("tenants.read"), "getTenant": may("tenants.read"),
	"createTenant": may("tenants.manage"), "updateTenant": may("tenants.manage"),
	"suspendTenant": may("tenants.manage"), "resumeTenant": may("tenants.manage"),
	"archiveTenant": may("tenants.manage").stepUp(),
	"listSites":     may("sites.read"), "getSite": may("sites.read"),
	"createSite": may("sites.manage"), "updateSite": may("sites.manage"),

	"listUsers": may("users.read"), "getUser": may("users.read"), "listRoles": may("users.read"),
	"createUser": may("users.manage").people(), "updateUser": may("users.manage").people(),
	"setUserGrants":   may("grants.manage").stepUp().people(),
	"createResetLink": may("users.manage").stepUp().people(), "resetSecondFactor": may("users.manage").stepUp().people(),
	"logoutUser":  may("users.manage").people(),
	"listApiKeys": may("api_keys.read"), "createApiKey": may("api_keys.manage").stepUp().people(),
	"revokeApiKey": may("api_keys.manage").people(),

	"getProviderSettings": may("settings.read"), "putProviderSettings": may("settings.manage"),
	"getSecuritySettings": may("settings.read"), "putSecuritySettings": may("settings.manage").stepUp().people(),
	"getMailSettings": may("settings.read"), "putMailSettings": may("settings.manage").stepUp().people(),
	"testMail":       may("settings.manage").people(),
	"getJobSettings": may("settings.read"), "putJobSettings": may("settings.manage").stepUp().people(),

	"listCustomFields": may("custom_fields.read"), "createCustomField": may("custom_fields.manage"),
	"updateCustomField": may("custom_fields.manage"), "deleteCustomField": may("custom_fields.manage").stepUp(),
	"getCustomFieldValues": may("custom_fields.read"), "setCustomFieldValues": may("custom_fields.write"),

	"listApprovals": may("approvals.read"), "getApproval": may("approvals.read"),
	"approveApproval": may("approvals.decide").stepUp().people(), "rejectApproval": may("approvals.decide").people(),
	"withdrawApproval": may("approvals.read").people(),

	"listEnrolmentTokens": may("devices.enrol"), "createEnrolmentToken": may("devices.enrol"),
	"revokeEnrolmentToken": may("devices.enrol"),

	"listDevices": may("devices.read"), "getDevice": may("devices.read"), "listTags": may("devices.read"),
	"getInventory": may("devices.read"), "listInventoryChanges": may("devices.read"),
	"listDeviceSoftware": may("devices.read"), "listTimeline": may("devices.read"),
	"updateDevice": may("devices.manage"), "tagDevice": may("devices.manage"), "tagDevices": may("devices.manage"),
	"refreshInventory": may("devices.manage"), // it reads, and runs nothing that somebody wrote
	"approveDevice":    may("devices.approve"), "rejectDevice": may("devices.approve"),
	"quarantineDevice": may("devices.manage"), "releaseDevice": may("devices.approve").stepUp(),
	"retireDevice":     may("devices.manage").stepUp(),
	"listSavedFilters": may("devices.read").people(), "createSavedFilter": may("devices.read").people(),
	"updateSavedFilter": may("devices.read").people(), "deleteSavedFilter": may("devices.read").people(),

	"listPolicies": may("policies.read"), "getPolicy": may("policies.read"), "getEffectivePolicies": may("policies.read"),
	"createPolicy": may("policies.manage"), "updatePolicy": may("policies.manage"), "deletePolicy": may("policies.manage"),

	"listScripts": may("scripts.read"), "getScript": may("scripts.read"), "listScriptVersions": may("scripts.read"),
	"createScript": may("scripts.manage"), "updateScript": may("scripts.manage"),

	"listJobs": may("jobs.read"), "getJob": may("jobs.read"),
	"createJob": may("jobs.run"), "previewJob": may("jobs.run"), "retryJob": may("jobs.run"),
	"cancelJob": may("jobs.cancel"),
	"listTasks": may("jobs.read"), "getTask": may("jobs.read"), "getTaskOutput": may("jobs.read"),
	"cancelTask": may("jobs.cancel"),

	"listSchedules": may("schedules.read"), "getSchedule": may("schedules.read"), "listScheduleRuns": may("schedules.read"),
	"listMissedRuns": may("schedules.read"), "listBlackouts": may("schedules.read"), "previewSchedule": may("schedules.read"),
	"createSchedule": may("schedules.manage"), "updateSchedule": may("schedules.manage"), "deleteSchedule": may("schedules.manage"),
	"runSchedule":    may("schedules.manage"),
	"createBlackout": may("schedules.manage"), "deleteBlackout": may("schedules.manage"),

	"listAudit": may("audit.read"), "verifyAudit": may("audit.read"),

	"getDashboard": may("devices.read"), "getVersion": {Access: Self},
	"getHealth": public, "getReadiness": public, "getContract": public,
}
