//! Pods that are alike: a controller makes thousands of one template, and what is filled into the first and asked of
//! it holds for all of them. Both depend on the specification alone (`defaults`, `validate::rules`).

use std::rc::Rc;

use crate::core::{Pod, PodSpec, PodStatus};
use crate::object::AnyObject;

/// The last Pod that was taken in: its specification as it was given, and what was made of it.
#[derive(Debug, Default)]
pub(super) struct Alike {
    given: Option<PodSpec>,
    spec: Option<PodSpec>,
    status: Option<PodStatus>,
}

impl Alike {
    /// Fills in a Pod that is like the last one, which has been found right. `false`: it is another.
    pub(super) fn fill(&self, object: &mut AnyObject) -> bool {
        let AnyObject::Pod(pod) = object else { return false };
        if pod.status.is_some() || pod.spec.is_none() || pod.spec != self.given {
            return false;
        }
        let pod: &mut Pod = Rc::make_mut(pod);
        pod.spec.clone_from(&self.spec);
        pod.status.clone_from(&self.status);
        true
    }

    /// What the next is compared with, if it comes to it.
    pub(super) fn given(object: &AnyObject) -> Option<PodSpec> {
        match object {
            AnyObject::Pod(pod) if pod.status.is_none() => pod.spec.clone(),
            _ => None,
        }
    }

    /// A Pod has been found right.
    pub(super) fn remember(&mut self, given: PodSpec, object: &AnyObject) {
        if let AnyObject::Pod(pod) = object {
            let (spec, status) = (pod.spec.clone(), pod.status.clone());
            *self = Alike { given: Some(given), spec, status };
        }
    }
}
