//! Which payment provider the configuration names.

use std::sync::Arc;

use creto_config::{ConfigFile, StripeFile};
use creto_enablement_common::outbound::Outbound;
use creto_kernel::Clock;
use creto_metering::PaymentProvider;

use crate::failure::Failure;

/// The provider, with its secrets. One that is half configured stops the start: invoices would wait for it.
pub(super) fn configured(
    file: &ConfigFile,
    outbound: &Outbound,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Arc<dyn PaymentProvider>>, Failure> {
    file.stripe.as_ref().map(|stripe| adapter(stripe, outbound, clock)).transpose()
}

#[cfg(feature = "stripe")]
fn adapter(file: &StripeFile, outbound: &Outbound, clock: &Arc<dyn Clock>) -> Result<Arc<dyn PaymentProvider>, Failure> {
    use creto_metering::stripe::{Collection, Stripe, StripeOptions};

    let options = StripeOptions {
        api: file.api.parse()?,
        secret_key: secret("CRETO_STRIPE_SECRET_KEY", file.secret_key_file.as_deref())?,
        webhook_secret: secret("CRETO_STRIPE_WEBHOOK_SECRET", file.webhook_secret_file.as_deref())?,
        collection: if file.send_invoices { Collection::Send } else { Collection::Charge },
        outbound: outbound.clone(),
        clock: Arc::clone(clock),
    };
    outbound.check(&options.api)?;
    Ok(Arc::new(Stripe::new(options).map_err(|why| refused(&why))?))
}

#[cfg(not(feature = "stripe"))]
fn adapter(_: &StripeFile, _: &Outbound, _: &Arc<dyn Clock>) -> Result<Arc<dyn PaymentProvider>, Failure> {
    Err(refused("this binary was built without the feature `stripe`"))
}

/// A secret of the environment, else of a file. Neither is ever part of a message.
#[cfg(feature = "stripe")]
fn secret(variable: &str, file: Option<&std::path::Path>) -> Result<creto_crypto::Secret, Failure> {
    let found = match (super::secret_of(variable), file) {
        (Some(found), _) => found,
        (None, Some(path)) => {
            std::fs::read_to_string(path).map_err(|e| refused(&format!("`{}` cannot be read: {e}", path.display())))?.trim().to_owned()
        }
        (None, None) => return Err(refused(&format!("`{variable}` is not set, and no file is named"))),
    };
    Ok(creto_crypto::Secret::new(found.into_bytes()))
}

fn refused(why: &str) -> Failure {
    Failure::usage(format!("`[stripe]` cannot be used: {why}"), "see docs/sdd/07-deployment-design.md")
}
