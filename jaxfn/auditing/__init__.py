"""`audit`: every custom rule of a program, met where it is applied and proven there.

`interception` puts itself between a rule and who calls it, `meeting` keeps what came by, `running`
runs the program, `proof` checks what was met, `report` says what was found.
"""

from jaxfn.auditing.audit import audit as audit
from jaxfn.auditing.report import AuditedRule as AuditedRule
from jaxfn.auditing.report import AuditError as AuditError
from jaxfn.auditing.report import AuditReport as AuditReport
